"""Train the flights network on several ranks with PyTorch's DistributedDataParallel, and export it for serving.

Start it with ``torchrun``, or let a TrainJob or PyTorchJob set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; without
these it is one rank. Checkpoints go to SPARKML_CHECKPOINT_URI after every epoch, and SPARKML_RESUME_FROM goes on from
one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from flights_net import (
    DATASET,
    FlightsNet,
    batches,
    check_equal,
    digest,
    parser,
    publish,
    read,
    tell_step,
    train_step,
)
from job import described, load_checkpoint, run, save_checkpoint, say, write_result
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def process_group() -> Iterator[tuple[int, int]]:
    """Join the other ranks, and give this one's number and how many there are."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        # There is nobody to meet, so no port is taken, which another job on this machine may have.
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    else:
        dist.init_process_group("gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()


def gathered(value: Any, ranks: int) -> list[Any]:
    """Return every rank's value."""
    values: list[Any] = [None] * ranks
    dist.all_gather_object(values, value)
    return values


def train(args: argparse.Namespace, rank: int, ranks: int) -> tuple[FlightsNet, dict[str, Any]]:
    """Train, and return the network and facts about the training."""
    dataset = described(args.data, DATASET, "preprocess.py")
    flights = read(args.data, dataset, "train")
    torch.manual_seed(args.seed)
    model = FlightsNet(flights.features, args.hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.learning_rate)
    done = step = 0
    if (checkpoint := load_checkpoint()) is not None:
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        done, step = checkpoint["epoch"], checkpoint["step"]
    # It broadcasts rank 0's parameters, and averages the gradients of all.
    parallel = DistributedDataParallel(model)
    say(f"rank {rank} of {ranks}: {len(flights.late):,} flights, epochs {done + 1} to {args.epochs}")
    for epoch in range(done, args.epochs):
        for rows in batches(len(flights.late), 0, args.batch, ranks, args.seed + epoch):
            loss = train_step(parallel, optimizer, flights, rows[rank::ranks])
            step += 1
            if rank == 0:
                tell_step(step, loss, epoch + 1, args.epochs)
        if rank == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1, "step": step}
            save_checkpoint(state)
    hashes = gathered(digest(model), ranks)
    check_equal(hashes)
    facts = {"ranks": ranks, "steps": step, "parameter_hashes": hashes, "resumed_from_epoch": done}
    return model, facts


def main(argv: list[str]) -> None:
    """Train and, on rank 0, measure, export and tell."""
    args = parser("train_torch.py", __doc__ or "").parse_args(argv)
    torch.set_num_threads(1)  # ranks share the machine's cores
    with process_group() as (rank, ranks):
        model, facts = train(args, rank, ranks)
        if rank == 0:
            write_result(publish(args, model, facts))
        dist.barrier()  # a rank that leaves early ends the job for some operators


def leave() -> None:
    """End the program, now that all is done, without the interpreter's own tidying up.

    A thread of torch's may still be there when torch is unloaded, and abort a rank that has done its work: "terminate
    called without an active exception" was seen once in some dozens of runs.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    run(main)
    leave()
