"""Exported networks, as ONNX's own checker, onnxruntime and PyTorch see them.

    python check.py DIR        # needs: pip install numpy onnx onnxruntime torch

Each folder in DIR holds a network and what it must compute, which tests/export/python.rs writes: model.onnx, which normalises,
model.py, weights.safetensors, and case.json with pixels in [0, 1] and logits. Prints a line for each; stops at the
first that is wrong.
"""
import importlib.util
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
import torch

TOLERANCE = 1e-4


def error(found, wanted):
    return float(np.abs(np.asarray(found) - wanted).max() / max(1.0, np.abs(wanted).max()))


def check_auxiliary(net, images, wanted):
    """Of the head on the cell at two thirds, which only a training carries out: its logits in use, and that a training
    gives those of that head on that cell."""
    seen = []
    hook = net.cells[2 * len(net.cells) // 3].register_forward_hook(lambda cell, inputs, output: seen.append(output))
    logits = net(images)
    found = net.auxiliary_head(seen.pop()).numpy()
    wanted = np.array(wanted).reshape(found.shape)
    assert found.shape == logits.shape and wanted.std() > 0.01, wanted
    _, auxiliary = net.train()(images)
    torch.testing.assert_close(auxiliary, net.auxiliary_head(seen.pop()))
    hook.remove()
    return error(found, wanted)


def check(folder):
    case = json.loads((folder / "case.json").read_text())
    images = np.array(case["images"], np.float32).reshape(case["shape"])
    wanted = np.array(case["logits"]).reshape(len(images), -1)

    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    metadata = {line.key: line.value for line in model.metadata_props}
    assert json.loads(metadata["classes"]) == case["classes"], metadata
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    errors = [error(session.run(["logits"], {"image": images[:n]})[0], wanted[:n]) for n in (1, len(images))]

    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    net = page.load()  # the weights beside the page, wherever the program is started
    with torch.no_grad():
        errors.append(error(net(page.normalised(torch.from_numpy(images))).numpy(), wanted))
        if case["auxiliary"]:
            errors.append(check_auxiliary(page.load(), page.normalised(torch.from_numpy(images)), case["auxiliary"]))
    # Mean and deviation are where the images are, and as exact as they are.
    assert page.normalised(torch.from_numpy(images).double()).dtype == torch.float64
    assert page.normalised(torch.empty(images.shape, device="meta")).device.type == "meta"
    answer = page.classify(net, torch.from_numpy(images[0]))
    assert next(iter(answer)) == case["classes"][wanted[0].argmax()] and abs(sum(answer.values()) - 1) < 1e-5
    assert max(errors) < TOLERANCE, f"{folder.name}: onnxruntime, all images at once, PyTorch are off by {errors}"
    print(f"{folder.name}: {len(model.graph.node)} nodes, off by {max(errors):.1e}")


folders = sorted(path for path in pathlib.Path(sys.argv[1]).iterdir() if path.is_dir())
for folder in folders:
    check(folder)
print(f"{len(folders)} networks are right")
