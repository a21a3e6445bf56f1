"""The notebook's cells run, one after the other, without error."""

import json

import pytest

pytestmark = pytest.mark.full
pytest.importorskip("evictlab.transformers")

from conftest import ROOT  # noqa: E402


@pytest.mark.parametrize("notebook", sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_notebooks_cells_run(notebook, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {}
    for place, cell in enumerate(json.loads(notebook.read_text())["cells"]):
        assert cell.get("outputs", []) == [], "committed without outputs"
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{notebook.name}[{place}]", "exec"), names)
