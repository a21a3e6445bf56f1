"""How long prompts are in SmolLM2's tokens, chat template and answer included: a row a task and length of their ids."""

import collections
import json
import pathlib
import sys

from smollm2 import rendered, tokenizer


def main() -> None:
    encode = tokenizer().encode
    rows: dict[str, list[tuple[int, int]]] = collections.defaultdict(list)
    for path in sys.argv[1:]:
        for line in pathlib.Path(path).read_text().splitlines():
            prompt = json.loads(line)
            answer = len(encode(prompt["answer"]).ids)
            rows[prompt["id"].rsplit("-", 1)[0]].append(
                (len(encode(rendered(prompt["messages"])).ids) + answer, answer)
            )
    print("| task and length | prompts | positions | of which answer |\n| --- | ---: | ---: | ---: |")
    for name, lengths in rows.items():
        positions, answers = zip(*lengths)
        print(f"| {name} | {len(lengths)} | {min(positions)} to {max(positions)} | {min(answers)} to {max(answers)} |")


if __name__ == "__main__":
    main()
