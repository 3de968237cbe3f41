"""snip-export: a finished run's network, without what its mask has emptied → an ONNX file."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from snip_cli import registry
from snip_cli.errors import ConfigError, SnipError

if TYPE_CHECKING:
    from torch import nn

EXAMPLES = """\
examples:
  snip-export runs/FOLDER network.onnx
  snip-export runs/FOLDER network.onnx --seed 3 --masked
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `snip-export` with `arguments` (default: those of the process); gives the exit code."""
    flags = parser().parse_args(arguments)
    try:
        registry.load_all(flags.config_dir)
        seed = export(flags.run, flags.file, seed=flags.seed, masked=flags.masked)
    except SnipError as error:
        print(f"snip-export: {error}", file=sys.stderr)
        return error.exit_code
    print(f"seed {seed} of {flags.run}  →  {flags.file}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line of snip-export."""
    made = argparse.ArgumentParser(
        prog="snip-export",
        description="Write the network of a finished run as ONNX, for batches of any size; what its mask has emptied is removed first.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("run", type=Path, metavar="RUN", help="the run's folder, as snip-run prints it")
    made.add_argument("file", type=Path, metavar="FILE.onnx", help="what to write; a file that is there is replaced")
    made.add_argument("--seed", type=int, help="which replicate (default: the run's first)")
    made.add_argument("--masked", action="store_true", help="the whole network, with its zeros")
    made.add_argument("--config-dir", type=Path, metavar="DIR", help="where a model of your own lies, as for snip-run")
    return made


def export(run: Path, file: Path, *, seed: int | None = None, masked: bool = False) -> int:
    """Write one seed's network as ONNX, with input `images` (N×C×H×W) and output `outputs`; gives the seed.

    Args:
        run: the folder of a finished run.
        file: what to write; only a complete file replaces one that is there.
        seed: which replicate; without it the run's first.
        masked: the whole network with its zeros, and not the smaller one.

    Raises:
        ConfigError: no finished run or no such seed, a folder that is not there or not writable, or ONNX is not installed.
    """
    if not (find_spec("onnx") and find_spec("onnxscript")):
        raise ConfigError("ONNX is not installed here: pip install 'snip-run[export]'.")
    if not file.parent.is_dir() or file.is_dir():
        raise ConfigError(f"{file} cannot be written: name a file in a folder that is there.")
    from snip_cli.compact import compact, files
    from snip_cli.runfolder.record import write_atomically

    finished = files.read(run)
    seed = finished.config.seed if seed is None else seed
    network = finished.masked_model(seed)
    if not masked:
        network = compact(network, finished.shape).network
    content = as_onnx(network, finished.shape)
    try:
        write_atomically(file, lambda opened: opened.write(content) and None)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({error.strerror}): name another file.") from error
    return seed


def as_onnx(network: "nn.Module", shape: tuple[int, ...]) -> bytes:
    """A network in inference mode as an ONNX file's content; raises ConfigError where PyTorch cannot export it for every batch."""
    import torch

    # Two images: with one, the exporter would take the batch's size for a constant.
    images_NCHW = torch.zeros(2, *shape, dtype=next(network.parameters()).dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch's own, about its next releases
            program = torch.onnx.export(
                network,
                (images_NCHW,),
                dynamo=True,
                input_names=["images"],
                output_names=["outputs"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except Exception as error:  # a user's forward pass may hold anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"PyTorch cannot export this network ({reason}): simplify its forward pass.") from error
    model = program.model_proto
    # Where it cannot keep the batch's size open the exporter writes the one it saw.
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ConfigError("This network fixes the size of its batch: write x.shape[0] for len(x) in its forward pass.")
    return model.SerializeToString()


if __name__ == "__main__":
    sys.exit(main())
