"""Everything that reads or writes weights; nothing here runs what a file holds beside tensors."""

import json
import logging
import re
import socket
import warnings
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import lnclip_df
from lnclip_df.backbone import VisionSpec, VisionTower, open_clip_names
from lnclip_df.errors import LNCLIPError, one_line
from lnclip_df.files import atomic_path, read_json
from lnclip_df.torchscript import is_torchscript, read_torchscript

logger = logging.getLogger(__name__)

# What CLIP's published files carry beside the vision tower; everything else that is left over is an error.
_CLIP_EXTRAS = re.compile(
    r"(transformer\.|token_embedding\.|positional_embedding$|ln_final\.|text|logit_scale$|logit_bias$|proj$"
    r"|visual_projection\.|input_resolution$|context_length$|vocab_size$|.*position_ids$)"
)
_TRANSFORMERS_NAMES = (
    (r"embeddings\.class_embedding", "class_embedding"),
    (r"embeddings\.patch_embedding\.", "conv1."),
    (r"embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"pre_layrnorm\.", "ln_pre."),
    (r"post_layernorm\.", "ln_post."),
    (r"encoder\.layers\.(\d+)\.layer_norm([12])\.", r"transformer.resblocks.\1.ln_\2."),
    (r"encoder\.layers\.(\d+)\.mlp\.fc1\.", r"transformer.resblocks.\1.mlp.c_fc."),
    (r"encoder\.layers\.(\d+)\.mlp\.fc2\.", r"transformer.resblocks.\1.mlp.c_proj."),
    (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"transformer.resblocks.\1.attn.out_proj."),
    (r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.", r"transformer.resblocks.\1.attn.\2."),
)


def read_state_dict(path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read tensors by name from a safetensors file, a PyTorch file (``weights_only``) or a TorchScript archive.

    Returns:
        ``(tensors, metadata)``: the tensors on the CPU, without the prefixes of DDP and torch.compile; the
        safetensors file's metadata, else an empty dict.

    Raises:
        LNCLIPError: absent, truncated, not a file of weights, or a pickle that holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise LNCLIPError(f"no weights file {path}")
    metadata = {}
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        elif is_torchscript(path):
            state = read_torchscript(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the pickle protocol of a file that is refused anyway
                state = torch.load(path, map_location="cpu", weights_only=True)
    except LNCLIPError:
        raise
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise LNCLIPError(
            f"{path} is not a whole file of weights (truncated or corrupt?): {one_line(error)[:200]}"
        ) from error
    except Exception as error:  # pickle.UnpicklingError, and whatever a hostile pickle makes of it
        raise LNCLIPError(f"{path} is refused: it is no PyTorch file, or holds more than tensors") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(map(_is_weight, state.keys(), state.values())):
        raise LNCLIPError(f"{path} is not a state dict: expected dense floating-point tensors (and counters) by name")
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", name): tensor for name, tensor in state.items()}, metadata


def _is_weight(name, tensor):
    return (
        isinstance(name, str)
        and isinstance(tensor, torch.Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and (tensor.is_floating_point() or tensor.ndim < 2 or name.endswith("position_ids"))
    )


def load_pretrained(tower: VisionTower, name: str, pretrained: str):
    """Load CLIP's published weights into a tower.

    Args:
        tower: the tower; every parameter of it is set.
        name: the open_clip model name that the tower was built from.
        pretrained: an open_clip tag (fetched or taken from its cache), or a file in open_clip's, OpenAI's or
            transformers' layout.

    Raises:
        LNCLIPError: the weights cannot be had (the message says which file to put where), or they are of another
            architecture or activation.
    """
    path = Path(pretrained).expanduser()
    if path.is_dir() or (not path.is_file() and (path.suffix or len(path.parts) > 1)):
        what = "is a folder" if path.is_dir() else "does not exist"
        raise LNCLIPError(f"lnclip.backbone.pretrained: {pretrained} {what}; give a weights file, a tag, or none")
    if not path.is_file():
        path = Path(_fetch(name, pretrained, tower.spec.quick_gelu))
    state, _ = read_state_dict(path)
    layout, state = _as_open_clip(state, path)
    _check_activation(name, tower.spec, path, layout)
    _check_shape(name, tower.spec, path, state)
    _load_strictly(tower, state, path)
    logger.info("backbone %s: %d tensors from %s (%s layout)", name, len(state), path, layout)


def _fetch(name, tag, quick_gelu):
    from open_clip import pretrained as hub

    base = name.removesuffix("-quickgelu")
    card = hub.get_pretrained_cfg(base, tag) or hub.get_pretrained_cfg(name, tag)
    if not card:
        tags = ", ".join(hub.list_pretrained_tags_by_model(name)) or "none"
        raise LNCLIPError(
            f"lnclip.backbone.pretrained: {tag!r} is neither a file nor a tag of {name} (its tags: {tags}); "
            "give one of them, a weights file, or none for random weights"
        )
    theirs = bool(card.get("quick_gelu")) or tag == "openai"
    if theirs != quick_gelu:
        trained, right = ("QuickGELU", f"{base}-quickgelu") if theirs else ("GELU", base)
        raise LNCLIPError(
            f"lnclip.backbone.name: the weights tagged {tag!r} were trained with {trained}; {name} has the other "
            f"activation. Use {right}"
        )
    source = card.get("hf_hub", "").rstrip("/")
    cached = source and _in_hub_cache(source)
    if cached:
        return cached
    try:
        if source and not _hub_has_a_name():
            raise OSError("no network: the Hub's name does not resolve")
        return hub.download_pretrained(card)
    except Exception as error:  # whatever a network, a proxy or a hub can raise
        file = f"open_clip_model.safetensors of {source} on the Hugging Face Hub" if source else card.get("url")
        raise LNCLIPError(
            f"cannot fetch the weights {tag!r} of {name} ({one_line(error)[:200]}). On a machine with a network, "
            f"download {file}; put it anywhere here, and set lnclip.backbone.pretrained to its path"
        ) from error


def _in_hub_cache(repository):
    """The weights file of a Hub repository where it was fetched before, else None."""
    from huggingface_hub import try_to_load_from_cache

    for file in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        path = try_to_load_from_cache(repository, file)
        if isinstance(path, str):
            return path
    return None


def _hub_has_a_name():
    """False where the Hub cannot be reached for want of a name server: its client would try for a minute."""
    from huggingface_hub import constants

    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        return False
    return True


def _as_open_clip(state, path):
    """The vision tower's tensors under open_clip's names, and the layout they came in."""
    if any("embeddings.patch_embedding.weight" in name for name in state):
        layout, state = "transformers", _from_transformers(state)
    else:
        layout = "OpenAI" if {"input_resolution", "context_length", "vocab_size"} & set(state) else "open_clip"
        if any(name.startswith("visual.") for name in state):
            _refuse_leftovers([n for n in state if not n.startswith("visual.")], path)
            state = {name.removeprefix("visual."): t for name, t in state.items() if name.startswith("visual.")}
        state.pop("proj", None)
    if "conv1.weight" not in state or state["conv1.weight"].ndim != 4:
        raise LNCLIPError(f"{path} holds no CLIP vision transformer: neither conv1.weight nor a patch embedding in it")
    return layout, state


def _from_transformers(state):
    prefix = next(n for n in state if n.endswith("embeddings.patch_embedding.weight"))
    prefix = prefix.removesuffix("embeddings.patch_embedding.weight")
    converted = {}
    for name, tensor in state.items():
        if not name.startswith(prefix) or _CLIP_EXTRAS.match(name.removeprefix(prefix)):
            continue
        new = name.removeprefix(prefix)
        for pattern, replacement in _TRANSFORMERS_NAMES:
            new = re.sub(f"^{pattern}", replacement, new)
        converted[new] = tensor
    for layer in {match.group(1) for match in map(re.compile(r"(.*\.attn\.)q\.").match, converted) if match}:
        for kind in ("weight", "bias"):
            qkv = [f"{layer}{part}.{kind}" for part in "qkv"]
            if all(name in converted for name in qkv):
                converted[f"{layer}in_proj_{kind}"] = torch.cat([converted.pop(name) for name in qkv])
    return converted


def _refuse_leftovers(names, path):
    left = [name for name in names if not _CLIP_EXTRAS.match(name)]
    if left:
        raise LNCLIPError(f"{path} holds {len(left)} tensors that CLIP has not, such as {left[0]}; not loaded")


def _check_activation(name, spec, path, layout):
    """Refuse weights whose activation is known, from the file or its neighbours, to be the other one."""
    quick_gelu = True if layout == "OpenAI" else None
    if layout == "transformers" and (path.parent / "config.json").is_file():
        config = _mapping(path.parent / "config.json", "vision_config")
        quick_gelu = config.get("hidden_act", "quick_gelu") == "quick_gelu"
    if layout == "open_clip" and (path.parent / "open_clip_config.json").is_file():
        quick_gelu = bool(_mapping(path.parent / "open_clip_config.json", "model_cfg").get("quick_gelu", False))
    words = {True: "QuickGELU", False: "GELU"}
    if quick_gelu is None:
        logger.warning(
            "%s does not record its activation: %s is taken, as %s has it", path, words[spec.quick_gelu], name
        )
    elif quick_gelu != spec.quick_gelu:
        base = name.removesuffix("-quickgelu")
        right = f"{base}-quickgelu" if quick_gelu else base
        mend = f"use {right}" if right in open_clip_names() else f"set vision.quick_gelu: {str(quick_gelu).lower()}"
        raise LNCLIPError(
            f"lnclip.backbone.name: {path} was trained with {words[quick_gelu]}, {name} has {words[spec.quick_gelu]}; "
            f"{mend}"
        )


def _mapping(path, section):
    """A JSON file's section, or all of it where it has none."""
    config = read_json(path)
    config = config.get(section, config) if isinstance(config, dict) else None
    if not isinstance(config, dict):
        raise LNCLIPError(f"{path}: expected a mapping; mend the file, or move it away from the weights")
    return config


def _check_shape(name, spec: VisionSpec, path, state):
    """Refuse weights of another architecture, by the names of those that they would fit."""
    layers = [int(m.group(1)) for m in map(re.compile(r"transformer\.resblocks\.(\d+)\.").match, state) if m]
    found = {
        "width": state["conv1.weight"].shape[0],
        "layers": max(layers, default=-1) + 1,
        "patch_size": state["conv1.weight"].shape[-1],
        "tokens": state["positional_embedding"].shape[:1].numel() if "positional_embedding" in state else 0,
    }
    wanted = {key: getattr(spec, key) for key in found}
    if found == wanted:
        return
    fits = [n for n, s in open_clip_names().items() if all(getattr(s, key) == found[key] for key in found)]
    hint = f"; they are of the shape of {', '.join(fits[:4])}" if fits else ""
    differ = ", ".join(f"{key} {found[key]} instead of {wanted[key]}" for key in found if found[key] != wanted[key])
    raise LNCLIPError(f"the weights {path} do not fit {name}: {differ}{hint}")


def _load_strictly(module, state, path):
    """Load every tensor of ``module``, or none and say which is missing, left over or of another shape."""
    own = module.state_dict()
    shape = [n for n in own if n in state and state[n].shape != own[n].shape]
    missing = [n for n in own if n not in state]
    extra = [n for n in state if n not in own and not n.endswith("position_ids")]
    faults = []
    if shape:
        name = shape[0]
        faults.append(f"{name} is {_size(state[name])} instead of {_size(own[name])} ({len(shape)} differ in shape)")
    if missing:
        faults.append(f"{len(missing)} tensors missing, such as {missing[0]}")
    if extra:
        faults.append(f"{len(extra)} unknown tensors, such as {extra[0]}")
    if faults:
        raise LNCLIPError(f"the weights {path} do not fit this configuration: {'; '.join(faults)}; nothing was loaded")
    module.load_state_dict({name: state[name] for name in own})


def _size(tensor):
    return "×".join(map(str, tensor.shape)) or "a scalar"


def save_weights(detector, path, metadata: dict | None = None):
    """Save a detector's whole state dict as safetensors, whole or not at all.

    Args:
        detector: an ``LNCLIPDetector``.
        path: ends in ``.safetensors``.
        metadata: JSON-able facts that travel with the weights (configuration, epoch, metric, …).
    """
    facts = {
        "lnclip_df": lnclip_df.__version__,
        "backbone": detector.backbone_identity(),
        **(metadata or {}),
    }
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in detector.state_dict().items()}
    with atomic_path(path) as temporary:
        try:
            save_file(state, temporary, metadata={"lnclip_df": json.dumps(facts)})
        except SafetensorError as error:
            raise LNCLIPError(f"cannot write {path}: {one_line(error)[:200]}") from error


def load_weights(detector, path) -> dict:
    """Load a detector's weights: ours, or the ``ckpt_best.pth`` that DeepfakeBench saves.

    Args:
        detector: an ``LNCLIPDetector`` of the same configuration.
        path: a ``.safetensors`` file or a PyTorch state dict.

    Returns:
        The facts saved with the weights; empty for a plain state dict.

    Raises:
        LNCLIPError: truncated, of another architecture or activation, or incomplete; nothing is loaded then.
    """
    state, metadata = read_state_dict(path)
    facts = _facts(metadata, path)
    saved, own = facts.get("backbone"), detector.backbone_identity()
    if saved is not None and saved != own:
        differ = ", ".join(f"{k} {saved.get(k)} instead of {own[k]}" for k in own if saved.get(k) != own[k])
        raise LNCLIPError(f"the weights {path} are of another backbone: {differ}; use the YAML they were trained with")
    _load_strictly(detector, state, path)
    return facts


def _facts(metadata, path):
    try:
        facts = json.loads(metadata.get("lnclip_df", "{}"))
    except ValueError as error:
        raise LNCLIPError(f"the metadata of {path} are damaged: {one_line(error)[:200]}") from error
    mappings = isinstance(facts, dict) and all(isinstance(facts.get(k, {}), dict) for k in ("backbone", "config"))
    if not mappings:
        raise LNCLIPError(f"the metadata of {path} are damaged: expected mappings")
    return facts
