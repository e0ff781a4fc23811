"""Recognize weight formats that are not supported, so that the error can say what a folder holds and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError

_ORIGINAL = "Use the checkpoint that it was made from, which has *.safetensors"
_SAVE = "Convert it once with model.save_pretrained(folder)"
_FORMATS = (
    ((".gguf", ".ggml"), "GGUF weights, which are for llama.cpp", f"{_ORIGINAL}; or serve it and pass remote=URL"),
    ((".onnx",), "an ONNX export", _ORIGINAL),
    (("openvino_model.xml", "openvino_model.bin"), "an OpenVINO export", _ORIGINAL),
    ((".mlmodel", ".mlpackage", ".mlmodelc"), "a Core ML export", _ORIGINAL),
    ((".engine", ".plan"), "a TensorRT engine", _ORIGINAL),
    ((".tflite",), "a TensorFlow Lite export", _ORIGINAL),
    ((".h5", ".ckpt.index"), "TensorFlow weights", _SAVE),
    ((".msgpack",), "Flax weights", _SAVE),
    ((".npz", ".npy"), "NumPy weights, as in early MLX conversions", _ORIGINAL),
    ((".bin", ".pt", ".pth", ".ckpt", ".pkl"), "pickled weights; pickled weights are not read", _SAVE),
)
_NO_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt")


def refuse_other_format(name: str, names: Sequence[str]) -> None:
    """Refuse a folder whose weights have an unsupported format.

    Args:
        name: the checkpoint, for messages.
        names: the files and folders in its folder; see `list_names`.

    Raises:
        UnsupportedCheckpointError: the message names the format.
    """
    for suffixes, what, remedy in _FORMATS:
        found = sorted(file for file in names if file.lower().endswith(suffixes) and file not in _NO_WEIGHTS)
        if found:
            raise UnsupportedCheckpointError(
                f"{shown(name)} holds {what} ({shown(found[0])}), and has no *.safetensors file. {remedy}."
            )


def list_names(folder: Path) -> list[str]:
    """Return the names of everything in a folder, and in its subfolders `onnx` and `openvino`."""
    inner = (path for part in ("onnx", "openvino") for path in (folder / part).glob("*"))
    return [path.name for path in (*folder.iterdir(), *inner)]
