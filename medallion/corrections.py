"""Put what lies in quarantine through the gate again, once it is corrected.

Rows are corrected in what was delivered, never in a table: a corrected row makes a new delivery for the same logical
date, which holds the bytes of the newest one with those rows replaced. It lies in the bucket beside the others, and a
usual run takes it as it takes any correction. Where the contract or the transform was corrected instead, the usual
run of the date makes its tables again by itself. So nothing passes the gate's side, and nothing is there twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from medallion import quarantined
from medallion.contract import Contract
from medallion.corrected_rows import Corrections, apply, read
from medallion.domain import Domains
from medallion.errors import InputError, UsageError
from medallion.lake import Lake
from medallion.lakehouse.store import Object
from medallion.pipeline import Outcome, Request, execute
from medallion.quarantined import State
from medallion.settings import EVIDENCE_BUCKET
from medallion.sources.formats import delivery_of
from medallion.sources.inbox import delivered_as, objects

Report = Callable[[str], None]


@dataclass(frozen=True)
class Corrected:
    """A delivery with rows replaced. `state` is `already there` if the newest delivery says what was asked for."""

    dataset: str
    logical_date: date
    corrects: str
    uri: str
    sha256: str
    rows: list[int]
    state: str


@dataclass(frozen=True)
class Replay:
    """What came of it: the run, and how many rows of the date main has in quarantine before and after."""

    dataset: str
    logical_date: date
    corrected: Corrected | None
    outcome: Outcome
    before: int
    after: int


def replay(
    lake: Lake, dataset: str, on: date, *, rows: Path | None = None, run: str | None = None, publish: bool = False,
    report: Report = print,
) -> Replay:  # fmt: skip
    """Judge a dataset's rows of a date again.

    Args:
        rows: a CSV file of corrected rows, with columns of the source and `_source_row` (or the key of bronze) to say
            which rows they replace; without it the contract or the transform was corrected.
        run: the failed run that put the rows aside; without it they lie in quarantine on main.
        publish: note that the caller publishes afterwards.
    Raises: UsageError for a dataset whose rows cannot be corrected so; InputError for corrected rows that fit no row in
        quarantine: nothing was delivered. As `medallion.pipeline.execute` does: then the corrected delivery, if any,
        lies in the bucket, and main is unchanged.
    """
    contract = lake.domains.contract(dataset)
    if rows is None and contract.layer == "bronze":
        raise UsageError(
            f"{dataset} keeps what was delivered, and a delivery is judged once, when it comes",
            hint="give the corrected rows with --rows; rows that silver put aside can be judged again",
        )
    before = _held(lake, contract, on)
    corrected = None
    note = f"replay of {dataset} {on}: rows in quarantine are judged again"
    if rows is not None:
        bronze = delivered_to(lake.domains, contract)
        with lake.journal.queue([f"corrections of {bronze.dataset}"]):  # two at once would each lose the other's rows
            corrected = correct(lake, contract, bronze, on, rows, run)
        if corrected.state == "delivered":
            note = f"replay of {dataset} {on}: rows {', '.join(map(str, corrected.rows))} of {corrected.corrects} were replaced"
        else:
            note = f"replay of {dataset} {on}: {corrected.uri} says what the corrected rows say"
        report(f"{corrected.uri}: {len(corrected.rows)} rows replaced, {corrected.state}")
    outcome = execute(lake, Request(on, domain=contract.domain, publish=publish, note=note), report)
    return Replay(dataset, on, corrected, outcome, before, _held(lake, contract, on))


def delivered_to(domains: Domains, contract: Contract) -> Contract:
    """The bronze dataset whose rows are corrected for those of a dataset.

    Raises: UsageError if there is not exactly one, or its rows cannot be corrected one by one.
    """
    transform = domains.transforms.get(contract.dataset)
    found = [contract] if transform is None else [domains.contracts[i] for i in transform.inputs.values()]
    bronze = [each for each in found if each.layer == "bronze"]
    if len(bronze) != 1:
        raise UsageError(
            f"{contract.dataset} is made from {', '.join(each.dataset for each in found)}: its rows are no rows of one delivery",
            hint="correct the silver dataset that they come from"
            if contract.layer == "gold"
            else "name the bronze dataset instead",
        )
    delivery = delivery_of(bronze[0])
    if delivery.source:
        raise UsageError(
            f"{bronze[0].dataset}: a run fetches it over {delivery.source.kind}, and would fetch the uncorrected rows again",
            hint=f"have them corrected at the endpoint '{delivery.source.endpoint}', then `medallion run --date … --refetch`",
        )
    if delivery.parts or delivery.expected == "increments":
        what = "comes in parts" if delivery.parts else "comes in increments"
        raise UsageError(
            f"{bronze[0].dataset} {what}: its rows cannot be corrected one by one",
            hint=f"hand the file over corrected: `medallion deliver {bronze[0].dataset} FILE --date …`",
        )
    return bronze[0]


def correct(lake: Lake, contract: Contract, bronze: Contract, on: date, file: Path, run: str | None) -> Corrected:
    """Deliver a date's newest delivery again, with rows replaced. Where it says so already, nothing is delivered.

    Raises: InputError, UsageError: nothing was delivered.
    """
    try:
        corrections = read(str(file), file.read_bytes())
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}", hint="name a file of corrected rows") from error
    newest = _newest(lake, bronze, on)
    data = lake.store.get(newest.uri)
    delivered = delivered_as(on, newest, data)
    made, places = apply(bronze, delivered, data, corrections)
    if made is data:
        return Corrected(bronze.dataset, on, delivered.uri, delivered.uri, delivered.sha256, places, "already there")
    if other := corrections.deliveries - {delivered.delivery}:
        raise InputError(
            f"{file}: the rows were corrected in delivery {sorted(other)[0]}, and the newest of {on} is {delivered.delivery}",
            hint="look at the rows of the newest one: `medallion quarantine show`; nothing was delivered",
            dataset=bronze.dataset,
        )
    state = quarantined.look_at(lake.nessie, lake.journal, run=run)
    aside = quarantined.pointers(lake.settings.s3, contract, state, on)
    if strange := [place for place in places if (delivered.delivery, place) not in aside]:
        raise InputError(
            f"{file}: row {strange[0]} of {delivered.uri} is not in the quarantine of {contract.dataset}, {_where(state)}",
            hint="name the failed run that put it aside with --run; a row that was not put aside is corrected with "
            f"`medallion deliver {bronze.dataset} FILE --date {on}`; nothing was delivered",
            dataset=contract.dataset,
        )
    uri = delivered.uri.partition("?")[0]
    corrected = Corrected(bronze.dataset, on, delivered.uri, uri, hashlib.sha256(made).hexdigest(), places, "delivered")
    _keep(lake, corrected, delivered.sha256, corrections)  # first: whoever is killed after it only has to come again
    lake.store.put(uri, made, "text/csv" if uri.endswith(".csv") else "application/octet-stream")
    _check_alone(lake, bronze, on, newest)
    return corrected


def _check_alone(lake: Lake, bronze: Contract, on: date, corrects: Object) -> None:
    """See that nothing was delivered between the delivery that was corrected and its correction, which would hide it."""
    if (between := objects(lake.store, bronze, on)[on][-2]) != dataclasses.replace(corrects, latest=between.latest):
        raise InputError(
            f"{bronze.dataset}: while rows of {corrects.uri} were corrected, {between.uri} was delivered",
            hint="the correction counts now: deliver that file again, and correct its rows; no run was started",
            dataset=bronze.dataset,
        )


def _newest(lake: Lake, bronze: Contract, on: date) -> Object:
    found = objects(lake.store, bronze, on).get(on)
    if not found:
        raise InputError(f"{bronze.dataset}: nothing was delivered for {on}", hint="name the date of the delivery")
    return found[-1]


def _keep(lake: Lake, corrected: Corrected, before: str, corrections: Corrections) -> None:
    """Write down where a corrected delivery comes from. Which rows and columns, not what they say: they may be personal."""
    document = asdict(corrected) | {"corrects_sha256": before, "file": corrections.name, "columns": corrections.columns}
    data = json.dumps(document, indent=1, default=str).encode()
    lake.store.put(f"s3://{EVIDENCE_BUCKET}/corrections/{corrected.sha256}.json", data, "application/json")


def _where(state: State) -> str:
    return f"as run {state.run} left it" if state.run else "as main is now"


def _held(lake: Lake, contract: Contract, on: date) -> int:
    state = quarantined.look_at(lake.nessie, lake.journal)
    return quarantined.held(lake.settings.s3, contract, state, on)
