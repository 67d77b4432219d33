"""Opens what `ckptctl fetch` wrote of one checkpoint: a directory, a
.safetensors and a .pt file; compares them byte for byte; loads the .pt into a
module and an optimizer, and makes a step.

usage: check_files.py FOLDER OPTIMIZER
"""

import json
import math
import os
import struct
import sys
import zipfile

import torch
import torch._weights_only_unpickler

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
              "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "U32": 4, "U64": 8}
TORCH_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16,
                "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32,
                "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
                "C64": torch.complex64, "C128": torch.complex128}


def read_directory(path):
    """{name: (dtype, shape, bytes)} and the manifest."""
    with open(os.path.join(path, "manifest.json")) as f:
        manifest = json.load(f)
    entries = {}
    for entry in manifest["entries"]:
        with open(os.path.join(path, entry["file"]), "rb") as f:
            data = f.read()
        assert len(data) == entry["bytes"], entry
        entries[entry["name"]] = (entry["dtype"], entry.get("shape"), data)
    assert len(os.listdir(path)) == len(entries) + 1
    return entries, manifest


def read_safetensors(path):
    """By the format's published rules, each of them checked."""
    with open(path, "rb") as f:
        content = f.read()
    (length,) = struct.unpack("<Q", content[:8])
    assert 2 <= length <= 100_000_000 and 8 + length <= len(content)
    text = content[8:8 + length]
    assert text[:1] == b"{", "the header begins with {"
    keys = []

    def no_twice(pairs):
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), "a key twice"
        keys.extend(names)
        return dict(pairs)

    header = json.loads(text.decode("utf-8"), object_pairs_hook=no_twice)
    assert text.rstrip(b" ")[-1:] == b"}", "padded with spaces only"
    metadata = header.pop("__metadata__", {})
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in metadata.items())
    data = content[8 + length:]
    assert (8 + length) % 8 == 0, "the tensors are aligned"
    tensors, end = {}, 0
    for name, info in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        assert set(info) == {"dtype", "shape", "data_offsets"}, info
        begin, stop = info["data_offsets"]
        assert begin == end, "no hole and no overlap"
        end = stop
        elements = math.prod(info["shape"])
        assert stop - begin == elements * ITEM_BYTES[info["dtype"]], name
        assert begin % ITEM_BYTES[info["dtype"]] == 0, name
        tensors[name] = (info["dtype"], info["shape"], data[begin:stop])
    assert end == len(data), "nothing after the last tensor"
    return tensors, metadata


def as_tensor(dtype, shape, data):
    if dtype == "bytes":
        return torch.tensor(list(data), dtype=torch.uint8)
    if not data:
        return torch.empty(shape, dtype=TORCH_DTYPES[dtype])
    return torch.frombuffer(bytearray(data), dtype=TORCH_DTYPES[dtype]).reshape(shape)


def same(a, b):
    """Equal in dtype, shape and every bit."""
    if a.dtype != b.dtype or a.shape != b.shape or not a.is_contiguous():
        return False
    if a.numel() == 0:
        return True
    return a.reshape(-1).view(torch.uint8).equal(b.reshape(-1).view(torch.uint8)) \
        if a.dtype != torch.bool else a.equal(b)


def check_torch(path, entries):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None, "checksums"
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
    checkpoint = torch.load(path)
    again = checkpoint
    # Torch 1.13 knows weights_only, but cannot read a float with it.
    if hasattr(torch._weights_only_unpickler, "BINFLOAT"):
        again = torch.load(path, weights_only=True)
        assert list(again) == list(checkpoint)

    for name, (dtype, shape, data) in entries.items():
        expected = as_tensor(dtype, shape, data)
        if name.startswith("model/"):
            found = checkpoint["model_state_dict"][name[len("model/"):]]
        elif name.startswith("optimizer/"):
            _, _, index, key = name.split("/")
            found = checkpoint["optimizer_state_dict"]["state"][int(index)][key]
            if key == "step":
                expected = expected.float()
        elif name == "rng/cpu":
            found = checkpoint["rng_state"]
        elif name == "ckpt.json":
            continue
        else:
            found = checkpoint[name]
            assert same(again[name], expected), name
        assert same(found, expected), name
    assert checkpoint["step"] == 1000 and checkpoint["run"] == "gpt"
    assert checkpoint["metrics"] == {"val_loss": 1.25}
    assert checkpoint["epoch"] == 3 and checkpoint["best_metric"] == 0.1
    assert checkpoint["plateau_state_dict"]["best"] == math.inf
    return checkpoint


def optimizer_of(name, parameters):
    options = {"SGD": {"lr": 1, "momentum": 0.5}, "Adam": {"amsgrad": True},
               "RMSprop": {"momentum": 0.5, "centered": True}}.get(name, {})
    return getattr(torch.optim, name)(parameters, **options)


def train(model, optimizer):
    torch.manual_seed(1)
    optimizer.zero_grad()
    model(torch.randn(8, 10)).square().mean().backward()
    optimizer.step()


def check_training(checkpoint, name):
    """The loaded optimizer goes on as one that Python brought to that state."""
    model = torch.nn.Sequential(torch.nn.Linear(10, 4), torch.nn.Linear(4, 2))
    optimizer = optimizer_of(name, model.parameters())
    train(model, optimizer)
    native = optimizer.state_dict()
    model.load_state_dict(checkpoint["model_state_dict"])
    saved = checkpoint["optimizer_state_dict"]
    assert set(saved["state"][0]) == set(native["state"][0]), (saved["state"][0], native["state"][0])
    missing = set(native["param_groups"][0]) - set(saved["param_groups"][0])
    assert not missing, missing
    optimizer.load_state_dict(saved)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scheduler.load_state_dict(checkpoint["scheduler_state_dict"])
    assert scheduler.step_size == 5 and scheduler.last_epoch == 3

    # The same by hand, into an optimizer that never saw the file.
    twin = torch.nn.Sequential(torch.nn.Linear(10, 4), torch.nn.Linear(4, 2))
    twin.load_state_dict({k: v.clone() for k, v in checkpoint["model_state_dict"].items()})
    other = optimizer_of(name, twin.parameters())
    train(twin, other)
    twin.load_state_dict(checkpoint["model_state_dict"])
    for index, parameter in enumerate(twin.parameters()):
        for key, value in saved["state"][index].items():
            old = other.state[parameter][key]
            other.state[parameter][key] = value.clone() if torch.is_tensor(old) else value.item()
    for key in ("lr", "betas", "eps", "weight_decay", "amsgrad", "momentum", "dampening",
                "nesterov", "alpha", "centered", "lr_decay", "initial_accumulator_value"):
        if key in other.param_groups[0]:
            other.param_groups[0][key] = saved["param_groups"][0][key]

    for _ in range(3):
        train(model, optimizer)
        train(twin, other)
    for a, b in zip(model.parameters(), twin.parameters()):
        assert a.equal(b), "the loaded optimizer went another way"
        assert not a.isnan().any()
    state = optimizer.state_dict()["state"][0]
    if "step" in state:
        assert float(state["step"]) == 45


def main():
    folder, optimizer = sys.argv[1:]
    entries, manifest = read_directory(os.path.join(folder, "raw"))
    assert manifest["step"] == 1000 and manifest["run"] == "gpt"
    tensors, metadata = read_safetensors(os.path.join(folder, "x.safetensors"))
    assert metadata["step"] == "1000" and metadata["metric:val_loss"] == "1.25"
    for name, entry in entries.items():
        if entry[0] in ITEM_BYTES:
            assert tensors.pop(name) == entry, name
    assert not tensors, list(tensors)
    checkpoint = check_torch(os.path.join(folder, "x.pt"), entries)
    check_training(checkpoint, optimizer)


if __name__ == "__main__":
    main()
