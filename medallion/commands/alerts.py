"""The commands `medallion alerts …` and `medallion watch`; `medallion.cli` takes them in."""

from __future__ import annotations

import getpass
import logging
import re
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medallion.commands.options import Json
from medallion.errors import MedallionError, ServiceUnavailable, UsageError
from medallion.settings import load
from medallion.terminal import reporter, reporter_beside_json, show_json, show_table

if TYPE_CHECKING:
    from medallion.alerts.evaluate import Look

log = logging.getLogger(__name__)
app = typer.Typer(name="alerts", no_args_is_help=True, help="What somebody must know of: look, take note, silence.")
watching = typer.Typer()
Who = Annotated[str | None, typer.Option("--who", help="Who does it; else the user of this machine.")]
_UNITS = {"min": 60, "m": 60, "h": 3600, "d": 86400}


@watching.command()
def watch(
    every: Annotated[float | None, typer.Option(min=1, help="Look again every so many seconds, until Ctrl-C.")] = None,
    as_json: Json = False,
) -> None:
    """Look for alerts: what ended, what has not come in time, what is over; and send what waits. Never starts Spark."""
    from medallion import domain
    from medallion.alerts.evaluate import evaluate, lines

    settings = load()
    report = reporter_beside_json() if as_json else reporter()
    looks = 0
    try:
        while True:
            looks += 1
            try:
                look = evaluate(settings, domain.load(settings).contracts)
            except Exception as failed:
                if every is None or looks == 1:
                    raise
                log.exception("a look failed")
                report(f"{_told(failed)}; the next look catches up")
            else:
                if as_json:
                    show_json(_as_json(look))
                else:
                    for line in lines(look):
                        report(line)
                    report(f"{len(look.opened)} opened, {len(look.resolved)} over, {look.sent} sent, {look.waiting} waiting")
            if every is None:
                return
            time.sleep(every)
    except KeyboardInterrupt:
        if every is None:
            raise
        report("the watch is over")


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: Json = False,
) -> None:
    """The alerts that are open, the gravest first; and the messages that a channel refuses."""
    from medallion.alerts import actions, outbox, store

    with store.connection(load().postgres) as connection:
        rows = actions.alerts(connection, all_=all_)
        aside = actions.set_aside(connection)
    if as_json:
        show_json([{key: row[key] for key in actions.LISTED} for row in rows])
    elif rows:
        show_table(rows, ("alert_id", "severity", "state", "summary", "opened_at", "command"))
    else:
        print("no alert was ever opened" if all_ else "no alert is open")
    for message in aside:
        print(outbox.set_aside(message["message_id"], message["channel"]), file=sys.stderr if as_json else sys.stdout)


@app.command()
def show(alert_id: int, as_json: Json = False) -> None:
    """One alert: figures, sample rows, and what was sent of it."""
    from medallion.alerts import actions, messages, store

    with store.connection(load().postgres) as connection:
        found = actions.alert(connection, alert_id)
    if as_json:
        show_json(found)
        return
    print(messages.opened(found))
    print(f"  {found['state']}, opened at {found['opened_at']:%Y-%m-%d %H:%M:%S}")
    if found["acknowledged_by"]:
        print(f"  acknowledged by {found['acknowledged_by']} at {found['acknowledged_at']:%Y-%m-%d %H:%M:%S}")
    if found["resolved_why"]:
        print(f"  over since {found['resolved_at']:%Y-%m-%d %H:%M:%S}: {found['resolved_why']}")
    if found["messages"]:
        show_table(found["messages"], ("message_id", "channel", "event", "created_at", "tries", "sent_at", "error"), "messages")


@app.command()
def acknowledge(ids: Annotated[list[int], typer.Argument(metavar="ID…")], who: Who = None, as_json: Json = False) -> None:
    """Note that somebody takes care of alerts."""
    from medallion.alerts import actions, store

    with store.connection(load().postgres) as connection:
        rows = actions.acknowledge(connection, ids, who or getpass.getuser())
    if as_json:
        show_json([{key: row[key] for key in actions.LISTED} for row in rows])
        return
    for row in rows:
        print(f"alert {row['alert_id']}: acknowledged by {row['acknowledged_by']}")


@app.command()
def silence(
    duration: Annotated[str, typer.Option("--for", help="For how long: 30min, 2h, 3d.")],
    why: Annotated[str, typer.Option(help="Why, in a few words.")],
    rule: Annotated[str | None, typer.Option(help="Only this rule.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only this dataset; * stands for any text.")] = None,
    who: Who = None,
    as_json: Json = False,
) -> None:
    """Send nothing about new alerts for a while; they are recorded, and sent afterwards if they are still open."""
    from medallion import domain
    from medallion.alerts import actions, rules, store

    settings, lasting = load(), _duration(duration)
    known = rules.load(settings.alerts.channels).by_name
    if rule is not None and rule not in known:
        raise UsageError(f"there is no rule '{rule}'", hint=f"{rules.path()} has {', '.join(known)}")
    if dataset is not None and "*" not in dataset:
        domain.load(settings).contract(dataset)
    with store.connection(settings.postgres) as connection:
        made = actions.silence(
            connection, duration=lasting, why=why, who=who or getpass.getuser(), rule=rule, dataset=dataset
        )  # fmt: skip
    if as_json:
        show_json(made)
    else:
        print(f"silence {made['silence_id']}: until {made['until']:%Y-%m-%d %H:%M:%S}")


@app.command()
def silences(as_json: Json = False) -> None:
    """The silences of now."""
    from medallion.alerts import actions, store

    with store.connection(load().postgres) as connection:
        rows = actions.silences(connection)
    if as_json:
        show_json(rows)
    elif rows:
        show_table(rows, ("silence_id", "rule", "dataset", "until", "who", "why"))
    else:
        print("nothing is silenced")


@app.command()
def unsilence(silence_id: int) -> None:
    """End a silence; what is still open is sent with the next look."""
    from medallion.alerts import actions, store

    with store.connection(load().postgres) as connection:
        actions.unsilence(connection, silence_id)
    print(f"silence {silence_id} is over")


@app.command()
def resend(ids: Annotated[list[int], typer.Argument(metavar="MESSAGE…")]) -> None:
    """Send messages again that were set aside because their channel refused them."""
    from datetime import UTC, datetime

    from medallion.alerts import actions, outbox, store

    settings = load()
    with store.connection(settings.postgres) as connection:
        actions.resend(connection, ids)
        sending = outbox.send(connection, settings.alerts.channels, datetime.now(UTC), settings.alerts.tries)
    for problem in sending.problems:
        print(problem)
    print(f"{sending.sent} sent, {sending.waiting} waiting")


@app.command()
def test(channel: Annotated[str, typer.Argument(help="A name under the setting alerts.channels.")]) -> None:
    """Send a message to a channel, to see that it comes."""
    from medallion.alerts.channels import Channel
    from medallion.lakehouse.steps import step

    channels = load().alerts.channels
    if channel not in channels:
        known = ", ".join(sorted(channels)) or "none: name some under the setting alerts.channels"
        raise UsageError(f"there is no channel '{channel}'", hint=f"known: {known}")
    to = Channel(channel, channels[channel])
    with step("alert.test"):
        taken = to.send("[medallion] a test", "This is a test: alerts reach this channel.", "resolved")
    if not taken:
        raise ServiceUnavailable(
            f"the channel '{channel}' did not take the message", hint="is the service up, and its URL in the settings right?"
        )
    print(f"the channel '{channel}' took it")


def _told(failed: Exception) -> str:
    if isinstance(failed, MedallionError):
        return failed.message
    return f"{type(failed).__name__}: {(str(failed).strip().splitlines() or [''])[0][:300]}"


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(min|m|h|d)", text)
    if not found or float(found[1]) > 10_000:
        raise UsageError(f"'{text}' is no time", hint="write it as 30min, 2h or 3d")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


def _as_json(look: Look) -> dict[str, Any]:
    from medallion.alerts.actions import LISTED

    def told(alerts: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
        return [{key: alert[key] for key in LISTED if key in alert} for alert in alerts]

    return {
        "opened": told(look.opened),
        "resolved": told(look.resolved),
        "sent": look.sent,
        "waiting": look.waiting,
        "problems": list(look.problems),
    }
