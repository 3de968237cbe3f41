"""snip-export: the network of a finished run, without the units that its mask has emptied → an ONNX file."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from snip_cli import registry
from snip_cli.commands.console import exit_code_of, exits_reported, path
from snip_cli.errors import ConfigError, RunError

if TYPE_CHECKING:
    from torch import nn

EXAMPLES = """\
examples:
  snip-export runs/FOLDER network.onnx
  snip-export runs/FOLDER network.onnx --seed 3 --masked
"""


# The largest difference of outputs in float32 that counts as rounding, relative to the largest output.
ROUNDING = 1e-3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `snip-export` with `arguments` (default: those of the process) and return the exit code."""
    return exit_code_of("snip-export", lambda: run_command(parser().parse_args(arguments)))


def run_command(flags: argparse.Namespace) -> int:
    """Export what the flags ask for and return the exit code."""
    registry.load_all(flags.config_dir)
    with exits_reported():
        seed, notes = export(flags.run, flags.file, seed=flags.seed, masked=flags.masked)
    print(f"seed {seed} of {flags.run}  →  {flags.file}", *notes, sep="\n")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="snip-export",
        description="Write the network of a finished run as ONNX, in float32 and for batches of any size. "
        "Units that its mask has emptied are removed first.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("run", type=path, metavar="RUN", help="the run's folder, as snip-run prints it")
    command.add_argument("file", type=path, metavar="FILE.onnx", help="the file to write; an existing file is replaced")
    command.add_argument("--seed", type=int, help="which replicate (default: the run's first)")
    command.add_argument("--masked", action="store_true", help="keep the whole network, with its zeros")
    command.add_argument(
        "--config-dir", type=path, metavar="DIR", help="the folder of your own models, as for snip-run"
    )
    return command


def export(run: Path, file: Path, *, seed: int | None = None, masked: bool = False) -> tuple[int, list[str]]:
    """Write the network of one seed as ONNX, with input `images` (N×C×H×W) and output `outputs`, in float32; return the
    seed and what the user should know about the file.

    Where onnxruntime is installed, its outputs are compared with the network's before anything is written.

    Args:
        run: the folder of a finished run.
        file: the file to write. An existing file is replaced only by a complete one.
        seed: which replicate; default: the first of the run.
        masked: write the whole network with its zeros, instead of the smaller one.

    Raises:
        ConfigError: the run is not finished or has no such seed, the network cannot be made smaller or exported, the
            file cannot be written, or ONNX is not installed.
        RunError: the smaller or the exported network gives other outputs.
    """
    if not (find_spec("onnx") and find_spec("onnxscript")):
        raise ConfigError("ONNX is not installed here: pip install 'snip-run[export]'.")
    if not file.parent.is_dir() or file.is_dir():
        raise ConfigError(f"{file} cannot be written: name a file in an existing folder.")
    import torch

    from snip_cli.compact import compact, files
    from snip_cli.compact.network import stopped_sentence
    from snip_cli.compact.tracing import data_type
    from snip_cli.runfolder.record import read_finished
    from snip_cli.runtime.files import write_atomically

    finished = read_finished(run)
    seed = finished.config.seed if seed is None else seed
    shape = tuple(finished.config.dataset.shape)
    network, notes = files.masked_model(finished, seed), []
    if not masked:
        smaller = compact(network, shape)
        network = smaller.network
        notes += [stopped_sentence(smaller.stopped)] if smaller.stopped else []
    if data_type(network) == torch.float64:
        network = network.to(torch.float32)
        notes.append("written in float32, because onnxruntime has no convolution and no recurrent layer for float64")
    content = as_onnx(network, shape)
    if find_spec("onnxruntime"):
        check_onnx(content, network, shape)
    else:
        notes.append("not checked, because onnxruntime is not installed here: pip install onnxruntime")
    try:
        write_atomically(file, lambda opened: opened.write(content))
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({error.strerror}): name another file.") from error
    return seed, notes


def as_onnx(network: "nn.Module", shape: tuple[int, ...]) -> bytes:
    """Return a network in inference mode as the content of an ONNX file.

    Raises:
        ConfigError: PyTorch cannot export the network, or not for batches of any size.
    """
    import torch

    # Two images: with one, the exporter would treat the size of the batch as a constant.
    images_NCHW = torch.zeros(2, *shape, dtype=next(network.parameters()).dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of PyTorch about its future releases
            program = torch.onnx.export(
                network,
                (images_NCHW,),
                dynamo=True,
                input_names=["images"],
                output_names=["outputs"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except Exception as error:  # a user's forward pass can raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"PyTorch cannot export this network ({reason}): simplify its forward pass.") from error
    assert program is not None
    model = program.model_proto
    # Where the exporter cannot keep the size of the batch open, it writes the size that it saw.
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ConfigError(
            "This network fixes the size of its batch: write x.shape[0] instead of len(x) in its forward pass."
        )
    return model.SerializeToString()


def check_onnx(content: bytes, network: "nn.Module", shape: tuple[int, ...]) -> None:
    """Compare what onnxruntime makes of random images with the network's outputs.

    Raises:
        ConfigError: onnxruntime cannot run the file.
        RunError: the outputs differ by more than rounding.
    """
    import torch
    from onnxruntime import InferenceSession

    from snip_cli.compact.verify import largest_excess

    images_NCHW = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    try:
        session = InferenceSession(content, providers=["CPUExecutionProvider"])
        outputs = session.run(["outputs"], {"images": images_NCHW.numpy()})
    except Exception as error:  # onnxruntime has no common class for its errors
        reason = " ".join(str(error).split())
        raise ConfigError(f"onnxruntime cannot run the exported network ({reason}): export another network.") from error
    with torch.no_grad():
        expected = [network(images_NCHW)]
    difference = largest_excess(expected, [torch.from_numpy(each) for each in outputs], ROUNDING)
    if difference > 0:
        raise RunError(
            f"onnxruntime's outputs differ from the network's by {difference:.2g} of the largest, more than rounding, so nothing is written: update onnx, onnxscript and onnxruntime."
        )


if __name__ == "__main__":
    sys.exit(main())
