"""Policies by name, and scorers and allocators of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import pandas

from . import _core


def policies() -> pandas.DataFrame:
    """All there are: policy, description, source, paper, variants."""
    return pandas.DataFrame(_core.listed_policies())


@dataclasses.dataclass(frozen=True)
class CustomPolicy:
    """A policy with parts written in Python; `scorer` and `allocator` make it. Called, it is the function it was made of."""

    policy: _core.Policy
    function: Callable

    def __call__(self, *arguments, **options):
        return self.function(*arguments, **options)

    @property
    def name(self) -> str:
        return self.policy.name


def _composed(scorer: str, allocator: str, selector: str, protect: tuple[int, int]) -> str:
    sinks, recent = protect
    name, _, more = allocator.partition("(")
    parameters = f",{more.removesuffix(')')}" if more else ""
    return f"compose(scorer={scorer},allocator={name}{parameters},selector={selector},protect={sinks}+{recent})"


def scorer(
    needs: str | Sequence[str] = "window_attention",
    *,
    window: int = 32,
    granularity: str = "kv",
    allocator: str = "uniform",
    selector: str = "top",
    protect: tuple[int, int] | None = None,
    name: str | None = None,
) -> Callable[[Callable], CustomPolicy]:
    """Makes a function of arrays and a layer a policy.

    The function is given the arrays it `needs`, in that order, as float32, and then the layer (index, layers, query_heads,
    kv_heads, head_dim, prompt_length, sliding_window, attention_scale, prompt). It returns an importance per position, larger
    is kept first: [G, n] for granularity "kv", [H, n] for "query", [1, n] for "layer"; rows of query heads are averaged where
    heads share a kept set.

        window_attention [H, window, n]    attention_mass [H, n]    output_norms [H, n]
        window_queries [H, window, d]      keys [G, n, d]           values [G, n, d]
        query_mean [H, d]                  query_covariance [H, d, d]

    `allocator` and `selector` are any that `compose` knows ("adaptive(floor_alpha=0.2)"). `protect` are the first and last
    positions kept in any case; the window, unless given. What the function raises, a wrong shape and numbers that are not
    finite end a replay with an Error that names the prompt and layer.
    """

    def decorate(function: Callable) -> CustomPolicy:
        arrays = [needs] if isinstance(needs, str) else list(needs)
        sinks_recent = (0, window) if protect is None else protect
        composed = _composed("given", allocator, selector, sinks_recent)
        called = name or function.__name__
        policy = _core.custom_policy(called, composed, function, arrays, window, granularity, None)
        return CustomPolicy(policy, function)

    return decorate


def allocator(
    scorer: str = "window", *, selector: str = "top", protect: tuple[int, int] = (0, 32), name: str | None = None
) -> Callable[[Callable], CustomPolicy]:
    """Makes a function that divides the budget a policy.

    The function is given the importance of a layer's positions ([kept sets, n] float32; NaN where nothing was scored, as in
    the window), the layer, and how many positions each kept set would hold if all got the same. It returns how many positions
    to keep, protected ones included: one number, or one per kept set; cut to what there is. Layers come in order, each once.
    """

    def decorate(function: Callable) -> CustomPolicy:
        composed = _composed(scorer, "uniform", selector, protect)
        called = name or function.__name__
        return CustomPolicy(_core.custom_policy(called, composed, None, [], 0, "kv", function), function)

    return decorate


PolicyLike = str | _core.Policy | CustomPolicy


def policies_of(request: PolicyLike | Iterable[PolicyLike], protect: str, variant: str) -> tuple[list[_core.Policy], list[str]]:
    """The policies of a request, and why some of a list are impossible."""
    items = [request] if isinstance(request, (str, _core.Policy, CustomPolicy)) else list(request)
    policies: list[_core.Policy] = []
    left_out: list[str] = []
    for item in items:
        if isinstance(item, str):
            some, reasons = _core.make_policies(item, protect, variant)
            policies += some
            left_out += reasons
        else:
            policies.append(_policy_of(item))
    if not policies and not left_out:
        raise _core.Error("no policies were given")
    return policies, left_out


def _policy_of(item: object) -> _core.Policy:
    if isinstance(item, CustomPolicy):
        return item.policy
    if isinstance(item, _core.Policy):
        return item
    raise _core.Error(f"a policy is text or made with scorer or allocator, got {type(item).__name__}")


def policy_texts(policies: str | Iterable[str] | None) -> str | None:
    """A list of policies as text. Raises Error for policies that are functions, which only replay and sweep run."""
    if policies is None or isinstance(policies, str):
        return policies
    items = [policies] if isinstance(policies, (_core.Policy, CustomPolicy)) else list(policies)
    for item in items:
        if not isinstance(item, str):
            name = getattr(item, "name", type(item).__name__)
            raise _core.Error(f"policy '{name}' is no text; here policies are named (\"snapkv,h2o\"), and those of one's own are replay's")
    if not items:
        raise _core.Error("no policies were given")
    return ",".join(items)
