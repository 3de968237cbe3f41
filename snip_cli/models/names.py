"""Names of parameters without what wrappers add to them, such as `module.` of DataParallel and `_orig_mod.` of torch.compile."""

from collections.abc import Iterable

# DataParallel, DistributedDataParallel and AveragedModel; torch.compile; FSDP; activation checkpointing.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def unwrapped(name: str) -> str:
    """Return a parameter's name without the parts that wrappers add to it, wherever they are."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def same_names(names: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """Return, for each of `names` that a model has, the model's `own` name for it.

    Wrappers are ignored on both sides, unless two names would then be the same: a model may call a part of itself `module`.
    """
    names, own = list(names), list(own)
    exact = {name: name for name in names if name in set(own)}
    if len(exact) == len(names):
        return exact
    by_plain = {unwrapped(name): name for name in own}
    plain = {name: unwrapped(name) for name in names}
    if len(by_plain) < len(own) or len(set(plain.values())) < len(names):
        return exact
    return {name: by_plain[short] for name, short in plain.items() if short in by_plain}
