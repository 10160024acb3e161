"""Count the operations for which a GPU would be waited for."""

from torch.utils._python_dispatch import TorchDispatchMode

WAITS = ("_local_scalar_dense", "item", "nonzero", "unique", "masked_select", "is_nonzero", "equal", "_to_cpu")


class WaitCounter(TorchDispatchMode):
    """Notes the names of those operations inside its ``with``, in ``seen``."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.partition("::")[2]
        if name.lstrip("_").startswith("unique") or name in WAITS:
            self.seen.append(name)
        return function(*args, **(kwargs or {}))
