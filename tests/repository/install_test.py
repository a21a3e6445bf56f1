"""What `cmake --install` leaves is enough to run from."""

import pathlib
import subprocess

import pytest

from conftest import PROGRAM, ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    build = pathlib.Path(PROGRAM).parent
    prefix = tmp_path_factory.mktemp("installed")
    done = subprocess.run(["cmake", "--install", build, "--prefix", prefix, "--component", "Unspecified"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return prefix


def test_models_texts_and_prompts_are_there(installed):
    models = installed / "share" / "evictlab" / "models"
    for name in ("demo", "texts"):
        there = {path.relative_to(models / name) for path in (models / name).rglob("*") if path.is_file()}
        ours = {path.relative_to(ROOT / "models" / name) for path in (ROOT / "models" / name).rglob("*") if path.is_file()}
        assert there == ours and len(ours) > 8


def test_the_installed_program_finds_them(installed, tmp_path):
    # Both are found before this is noticed: the shipped conversations need a chat template, which this model lacks.
    model = tmp_path / "model"
    model.mkdir()
    for path in (ROOT / "models" / "demo").glob("*.*"):
        (model / path.name).symlink_to(path)
    done = subprocess.run([installed / "bin" / "evictlab", "demo", "--model", model, "--out", tmp_path / "out"],
                          capture_output=True, text=True)
    assert done.returncode == 2 and "has no chat template" in done.stderr, done.stderr
