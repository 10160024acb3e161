"""Export to ONNX: images to logits for any batch size, checked against PyTorch before the file is kept."""

import json
import logging
import warnings
from importlib.util import find_spec

import torch

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import atomic_path
from lnclip_df.core.provenance import METADATA_KEY
from lnclip_df.weights.test_vectors import Logits

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
BATCHES = (1, 3)
_LIMIT = 2**31 - 1  # protobuf's, of one file


@torch.no_grad()
def export_onnx(detector, path, facts: dict) -> float:
    """Write a detector as ONNX: ``image`` B×3×H×W float32, normalised as the backbone's → ``logits`` B×2.

    Args:
        detector: an ``LNCLIPDetector`` on the CPU.
        path: ends in ``.onnx``; written whole or not at all.
        facts: JSON-able; saved in ``metadata_props`` under ``lnclip_df``.

    Returns:
        The largest difference between onnxruntime's logits and PyTorch's, over random batches of 1 and 3.

    Raises:
        LNCLIPError: the extra ``onnx`` is missing, the file would exceed 2 GB or cannot be written, or the difference
            exceeds 1e-3.
    """
    absent = [package for package in ("onnx", "onnxruntime", "onnxscript") if not find_spec(package)]
    if absent:
        raise LNCLIPError(f"ONNX needs {', '.join(absent)}: pip install 'lnclip-df[onnx]'")
    size = sum(p.numel() * p.element_size() for p in detector.parameters())
    if size > 0.98 * _LIMIT:
        raise LNCLIPError(
            f"{detector.settings.backbone.name} has {size / 1e9:.1f} GB, an ONNX file at most 2; export the format full"
        )
    model = Logits(detector).eval()
    proto = _as_onnx(model, detector.backbone.image_size)
    del proto.graph.value_info[:]  # the exporter's notes on the shapes of intermediate results
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(facts)
    with atomic_path(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        difference = _difference(model, temporary, detector.backbone.image_size)
        if not difference <= TOLERANCE:
            raise LNCLIPError(f"{path}: not kept, onnxruntime's logits differ from PyTorch's by {difference:.1e}")
    logger.info("%s: onnxruntime's logits agree with PyTorch's to %.0e", path, difference)
    return difference


def _as_onnx(model, size):
    example = torch.zeros(2, 3, size, size)
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's exporter warns about its own code
        try:
            program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},), strict=True)
            exported = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=["image"], output_names=["logits"]
            )
        except Exception as error:  # the exporter raises many kinds
            raise LNCLIPError(f"PyTorch {torch.__version__} cannot export ONNX: {one_line(error)[:300]}") from error
    return exported.model_proto


def _difference(model, path, size):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch in BATCHES:
        image = torch.randn(batch, 3, size, size, generator=generator)
        (logits,) = session.run(["logits"], {"image": image.numpy()})
        worst = max(worst, (torch.from_numpy(logits) - model(image)).abs().max().item())
    return worst
