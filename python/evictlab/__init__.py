"""The lab bench for KV-cache eviction in large language models, from Python.

Record once (`evictlab.transformers.record`, or the `evictlab record` program), then replay every policy at every budget,
analyse, plot and report: all of it computed by the C++ core that the program is made of. `docs/python.md` is the tour.
"""

from . import _runs, plot
from ._core import Error, Policy, set_threads
from ._core import version as __version__
from ._policies import CustomPolicy, allocator, policies, scorer
from ._runs import *  # noqa: F403
from ._trace import Prompt, Trace, verify

__all__ = [
    *_runs.__all__,
    "CustomPolicy",
    "Error",
    "Policy",
    "Prompt",
    "Trace",
    "__version__",
    "allocator",
    "plot",
    "policies",
    "scorer",
    "set_threads",
    "verify",
]
