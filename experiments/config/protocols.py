"""Declares the protocols of `config.protocol`; experiments/setup/protocols.py has their data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """The properties of a protocol.

    Attributes:
        by_captions: retrieves videos by their captions, instead of classifying them.
        draws_shots: trains on a few examples per class, not on all.
        reads_labels: methods get the labels of the training examples.
        tests_others: also tests on the data sets of `data.names`.
        tests: names of the test sets, unless the protocol tests others; they are the columns of
            tables.
    """

    by_captions: bool = False
    draws_shots: bool = True
    reads_labels: bool = True
    tests_others: bool = False
    tests: tuple[str, ...] = ("test",)


PROTOCOLS = {
    "base_to_novel": Protocol(tests=("base", "new")),
    "few_shot": Protocol(),
    "supervised": Protocol(draws_shots=False),
    "unlabeled": Protocol(draws_shots=False, reads_labels=False),
    "cross_dataset": Protocol(tests_others=True),
    "domain_generalization": Protocol(tests_others=True),
    "zero_shot_transfer": Protocol(draws_shots=False, tests_others=True),
    "retrieval": Protocol(by_captions=True, draws_shots=False),
}
