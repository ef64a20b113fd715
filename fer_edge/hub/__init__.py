"""Push and pull of checkpoints and bundles, through ``huggingface_hub``.

Nothing is fetched unless asked. A pulled model is checked before it is put in place: each file's
SHA-256 where the Hub states it, then all that ``open_bundle`` or ``load_checkpoint`` check.
"""

from fer_edge.hub.model import KINDS, Kind, Transfer, kind_of
from fer_edge.hub.pull import pull
from fer_edge.hub.push import push

__all__ = ["KINDS", "Kind", "Transfer", "kind_of", "pull", "push"]
