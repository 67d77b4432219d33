"""Saves and loads with Python's torch, command by command on standard input.

    open PATH    views a file of float32 as tensors, as large as FlatTensors' are
    save PATH    torch.save of them
    load PATH    torch.load, dropped at once
    close        lets go of the file

Answers "ok", or what went wrong, one line a command; "ok" once it is up.
"""

import mmap
import sys

import torch

# The tensors of each 64 MiB: elements.
SIZES = (3072 * 4096, 3072 * 1024, 1023 * 1024, 1024)


def view(path):
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    state, offset = {}, 0
    while offset < len(memory):
        for size in SIZES:
            state[f"tensor.{len(state)}"] = torch.frombuffer(
                memory, dtype=torch.float32, count=size, offset=offset
            )
            offset += 4 * size
    return state


def main():
    state = None
    print("ok", flush=True)
    for line in sys.stdin:
        verb, _, path = line.strip().partition(" ")
        try:
            if verb == "open":
                state = view(path)
            elif verb == "save":
                torch.save(state, path)
            elif verb == "load":
                torch.load(path)
            elif verb == "close":
                state = None
            else:
                raise ValueError(f"unknown command {verb}")
            print("ok", flush=True)
        except Exception as error:  # told to whoever asked
            print(f"error: {error}".replace("\n", " "), flush=True)


main()
