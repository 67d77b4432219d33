#!/usr/bin/python3
"""Prints schedulers_golden.h: the learning rates that Python's schedulers give.

Run with Debian's python3-torch: ./schedulers_golden.py > schedulers_golden.h
"""
import math
import random

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

inf = math.inf


def number(x):
    if math.isnan(x):
        return "NAN"
    if math.isinf(x):
        return "INFINITY" if x > 0 else "-INFINITY"
    return repr(float(x))


def numbers(xs):
    return "{" + ", ".join(number(x) for x in xs) + "}"


def optimizer(rates):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in rates]
    return torch.optim.SGD(groups, lr=1.0)


def rates_after(opt, step, inputs):
    out = []
    for x in inputs:
        step(x)
        out += [g["lr"] for g in opt.param_groups]
    return out


print("// clang-format off")
print("// Printed by schedulers_golden.py: what PyTorch 1.13's schedulers give in Python.")
print("#pragma once\n\n#include <cmath>\n#include <map>\n#include <string>\n#include <vector>\n\n#include \"client/libtorch/schedulers.h\"\n")
print("namespace ckpt::libtorch {\n")
print("struct StepRow { std::vector<double> first; int64_t step_size; double gamma; std::vector<double> rates; };")
print("inline const std::vector<StepRow> kStepRows = {")
for first, size, gamma in [([0.1], 3, 0.1), ([0.05, 0.5], 1, 0.9), ([1.0], 10, 0.5), ([0.3], 4, 1 / 3)]:
    opt = optimizer(first)
    sched = StepLR(opt, size, gamma)
    opt.step()
    rates = rates_after(opt, lambda _: sched.step(), range(25))
    print("    {%s, %d, %s, %s}," % (numbers(first), size, number(gamma), numbers(rates)))
print("};\n")

random.seed(7)
falling = [5.0 * 0.8**i + random.random() * 0.3 for i in range(40)]
noise = [random.gauss(0, 1) for _ in range(40)]
flat = [1.0] * 40
slow = [1.0 - 5e-5 * i for i in range(40)]
odd = [1.0, math.nan, 0.5, inf, -inf, 0.4, math.nan, math.nan, math.nan, 0.3, 0.2, 0.1] * 3
curves = {"falling": falling, "noise": noise, "flat": flat, "slow": slow, "odd": odd}
options = [
    dict(),
    dict(patience=0, factor=0.5),
    dict(patience=2, factor=0.3, cooldown=3),
    dict(patience=1, mode="max", factor=0.7),
    dict(patience=1, mode="max", threshold_mode="abs", threshold=0.25, cooldown=1),
    dict(patience=1, threshold_mode="abs", threshold=1e-3),
    dict(patience=0, factor=0.1, min_lr=0.003),
    dict(patience=0, factor=0.5, eps=0.02),
    dict(patience=1, factor=0.2, min_lr=[0.01, 0.1]),
]
print("inline const std::map<std::string, std::vector<double>> kCurves = {")
for name, curve in curves.items():
    print("    {\"%s\", %s}," % (name, numbers(curve)))
print("};\n")
print("struct PlateauRow { const char* curve; std::vector<double> first; PlateauOptions options;")
print("  std::vector<double> rates; double best; int64_t num_bad_epochs; int64_t cooldown_counter; };")
print("inline const std::vector<PlateauRow> kPlateauRows = {")
for name, curve in curves.items():
    for with_options in options:
        first = [0.1, 1.0] if isinstance(with_options.get("min_lr"), list) else [0.1]
        opt = optimizer(first)
        sched = ReduceLROnPlateau(opt, **with_options)
        rates = rates_after(opt, sched.step, curve)
        fields = []
        for key in ["mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps"]:
            if key in with_options:
                value = with_options[key]
                if isinstance(value, str):
                    text = '"%s"' % value
                elif key == "min_lr":
                    text = numbers(value if isinstance(value, list) else [value])
                elif key in ("patience", "cooldown"):
                    text = str(value)
                else:
                    text = number(value)
                fields.append(".%s = %s" % (key, text))
        print("    {\"%s\", %s, {%s}, %s, %s, %d, %d}," % (
            name, numbers(first), ", ".join(fields), numbers(rates),
            number(sched.best), sched.num_bad_epochs, sched.cooldown_counter))
print("};\n\n}  // namespace ckpt::libtorch")
