"""Train the flights network on several ranks with Horovod, static or elastic, and export it for serving.

Start it with ``horovodrun``. With ``--host-discovery-script`` it is elastic: when a rank dies, the others go on from
what they last agreed on. Checkpoints go to SPARKML_CHECKPOINT_URI after every epoch, and SPARKML_RESUME_FROM goes on
from one.
"""

from __future__ import annotations

import argparse
from typing import Any

import horovod.torch as hvd
import torch
from flights_net import (
    DATASET,
    Flights,
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

COMMIT_STEPS = 10
"""An elastic job loses at most so many steps when a rank dies; each commit costs a copy of the parameters."""


def begin(args: argparse.Namespace, flights: Flights) -> tuple[FlightsNet, Any]:
    """Return the network, and the state that all ranks share: parameters, optimizer, and how far they are."""
    torch.manual_seed(args.seed)
    model = FlightsNet(flights.features, args.hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.learning_rate)
    done = step = 0
    if (checkpoint := load_checkpoint()) is not None:
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        done, step = checkpoint["epoch"], checkpoint["step"]
    # It averages the gradients of all ranks.
    averaging = hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())
    state = hvd.elastic.TorchState(model=model, optimizer=averaging, epoch=done, rows=0, step=step, resumed=done)
    return model, state


def train(state: Any, args: argparse.Namespace, flights: Flights) -> None:
    """Train from where the state is; Horovod calls this again, on what ranks there are then, when one was lost."""
    rank, ranks = hvd.rank(), hvd.size()
    say(f"rank {rank} of {ranks}: {len(flights.late):,} flights, epochs {state.epoch + 1} to {args.epochs}")
    while state.epoch < args.epochs:
        for rows in batches(len(flights.late), state.rows, args.batch, ranks, args.seed + state.epoch):
            loss = train_step(state.model, state.optimizer, flights, rows[rank::ranks])
            state.rows += len(rows)
            state.step += 1
            if rank == 0:
                tell_step(state.step, loss, state.epoch + 1, args.epochs)
            if state.step % COMMIT_STEPS == 0:
                state.commit()
        state.epoch += 1
        state.rows = 0
        state.commit()
        if rank == 0:
            parts = {"model": state.model.state_dict(), "optimizer": state.optimizer.state_dict()}
            save_checkpoint({**parts, "epoch": state.epoch, "step": state.step})


def main(argv: list[str]) -> None:
    """Train and, on rank 0, measure, export and tell."""
    args = parser("train_horovod.py", __doc__ or "").parse_args(argv)
    torch.set_num_threads(1)  # ranks share the machine's cores
    flights = read(args.data, described(args.data, DATASET, "preprocess.py"), "train")
    hvd.init()
    model, state = begin(args, flights)
    hvd.elastic.run(train)(state, args, flights)
    hashes = hvd.allgather_object(digest(model))
    check_equal(hashes)
    if hvd.rank() == 0:
        facts = {
            "ranks": hvd.size(),
            "steps": state.step,
            "parameter_hashes": hashes,
            "resumed_from_epoch": state.resumed,
        }
        write_result(publish(args, model, facts))


if __name__ == "__main__":
    run(main)
