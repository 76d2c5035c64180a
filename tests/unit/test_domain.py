"""Domains: how transforms find what they read, and what is refused when contracts and code disagree."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from medallion import domain
from medallion.domain import Domains
from medallion.errors import ContractError, UsageError
from medallion.settings import Settings
from tests.small_domain import GOLD_PY, SILVER_PY, Document, write

Damage = Callable[[dict[str, Document]], object]


def load(*folders: Path) -> Domains:
    return domain.load(Settings(domains=":".join(map(str, folders))))


def unchanged(_: dict[str, Document]) -> None:
    """No damage."""


def rename(file: str, name: str) -> Damage:
    return lambda contracts: contracts.update({name: contracts.pop(file)})


def belongs_to(other: str) -> Damage:
    def damage(contracts: dict[str, Document]) -> None:
        contracts["gold.daily_totals.odcs.yaml"] |= {"domain": other, "id": f"gold.{other}.daily_totals"}

    return damage


REFUSED: dict[str, tuple[Damage, dict[str, str], str, str]] = {
    "a transform without a contract": (
        lambda c: c.pop("gold.daily_totals.odcs.yaml"), {}, r"gold\.py:4:1: transform 'daily_totals' has no contract",
        r"gold\.daily_totals\.odcs\.yaml",
    ),
    "a contract without a transform": (
        unchanged, {"gold": ""}, r"gold\.daily_totals\.odcs\.yaml: gold\.shop\.daily_totals has no transform",
        r"def daily_totals\(…\)` in .*gold\.py",
    ),
    "a parameter that is no dataset": (
        unchanged, {"gold": GOLD_PY.replace("(orders)", "(oders)")}, r"gold\.py:4:1: parameter 'oders' of 'daily_totals' is no",
        r"looked for gold\.shop\.oders, silver\.shop\.oders",
    ),
    "a cycle": (
        unchanged,
        {"silver": SILVER_PY.replace("(bronze_orders)", "(bronze_orders, gold_daily_totals)")},
        r"cycle: (silver\.shop\.orders → gold\.shop\.daily_totals|gold\.shop\.daily_totals → silver\.shop\.orders) → ",
        "remove one of these inputs",
    ),
    "a transform that reads nothing": (
        unchanged, {"gold": GOLD_PY.replace("(orders)", "()")}, "'daily_totals' reads nothing", "name its inputs",
    ),
    "a module that does not import": (
        unchanged, {"gold": "import no_such_module"}, r"gold\.py:1:1: cannot be imported: ModuleNotFoundError", "mend",
    ),
    "a module that is no Python": (unchanged, {"gold": "def :"}, r"gold\.py:1:1: cannot be imported: SyntaxError", "mend"),
    "a file of another name": (
        rename("gold.daily_totals.odcs.yaml", "gold.totals.odcs.yaml"), {}, r"gold\.totals\.odcs\.yaml: holds gold\.shop\.daily",
        r"call it gold\.daily_totals\.odcs\.yaml",
    ),
    "a parameter of nothing that is known": (
        unchanged, {"gold": GOLD_PY.replace("(orders)", "(orders, operations_flihgts)")},
        r"gold\.py:4:1: parameter 'operations_flihgts' of 'daily_totals' is no", r"silver\.operations\.flihgts",
    ),
    "a folder without a contract": (lambda c: c.clear(), {}, r"shop holds no contract \(\*\.odcs\.yaml\)", "domain new"),
    "a contract that is no YAML": (
        lambda c: c.update({"silver.orders.odcs.yaml": "\t{"}), {}, r"silver\.orders\.odcs\.yaml:1:1: .*not a map", "start from",
    ),
    "two domains in a folder": (belongs_to("cellar"), {}, r"name the domains \['cellar', 'shop'\]", "one folder, one domain"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_place_and_remedy(tmp_path: Path, case: str) -> None:
    damage, modules, told, remedy = REFUSED[case]
    with pytest.raises(ContractError, match=told) as refused:
        load(write(tmp_path / "shop", damage, **modules))
    assert refused.value.exit_code == 2
    assert str(tmp_path / "shop") in refused.value.message or "cycle" in told
    assert re.search(remedy, refused.value.hint or "")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"nowhere does not exist") as refused:
        load(tmp_path / "nowhere")
    assert "'domains'" in (refused.value.hint or "")


def test_a_domain_in_two_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"domain shop stands in .*/one and in .*/two") as refused:
        load(write(tmp_path / "one"), write(tmp_path / "two"))
    assert "rename" in (refused.value.hint or "")


def test_a_folder_named_twice_is_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop")
    assert load(folder, folder / ".." / "shop").select(domain="shop")


@pytest.mark.parametrize("name", domain.RESERVED)
def test_a_reserved_name_is_refused(tmp_path: Path, name: str) -> None:
    def damage(contracts: dict[str, Document]) -> None:
        for document in contracts.values():
            document |= {"domain": name, "id": document["id"].replace("shop", name)}

    with pytest.raises(ContractError, match=f"/shop: no domain may be called '{name}'"):
        load(write(tmp_path / "shop", damage))


def test_the_names_of_parameters_are_the_lineage(tmp_path: Path) -> None:
    domains = load(write(tmp_path / "shop"))
    assert domains.transforms["silver.shop.orders"].inputs == {"bronze_orders": "bronze.shop.orders"}
    assert domains.transforms["gold.shop.daily_totals"].inputs == {"orders": "silver.shop.orders"}
    flights = domains.transforms["silver.operations.flights"].inputs
    assert flights == {"bronze_flights": "bronze.operations.flights", "airports": "silver.operations.airports"}
    assert domains.transforms["gold.operations.fact_flight"].inputs["flights"] == "silver.operations.flights"


def test_a_dataset_of_another_domain_is_named_with_it(tmp_path: Path) -> None:
    gold = GOLD_PY.replace("(orders)", "(orders, operations_airports, operations_gold_dim_airline)")
    inputs = load(write(tmp_path / "shop", gold=gold)).transforms["gold.shop.daily_totals"].inputs
    assert inputs["operations_airports"] == "silver.operations.airports"
    assert inputs["operations_gold_dim_airline"] == "gold.operations.dim_airline"


def test_every_dataset_comes_after_what_it_is_made_from(tmp_path: Path) -> None:
    domains = load(write(tmp_path / "shop"))
    assert len(domains.order) == len(domains.contracts)
    for dataset, transform in domains.transforms.items():
        for input_ in transform.inputs.values():
            assert domains.order.index(input_) < domains.order.index(dataset)
    assert domains.select(domain="shop") == ("bronze.shop.orders", "silver.shop.orders", "gold.shop.daily_totals")
    assert domains.select(layers=("silver",), domain="shop") == ("silver.shop.orders",)


def test_an_unknown_dataset_is_refused_with_near_names() -> None:
    domains = load()
    with pytest.raises(UsageError, match=r"no dataset 'silver\.operations\.fligths'") as refused:
        domains.select(dataset="silver.operations.fligths")
    assert (refused.value.exit_code, "silver.operations.flights" in (refused.value.hint or "")) == (2, True)
    with pytest.raises(UsageError) as refused:
        domains.select(dataset="xyz")
    assert "known: bronze.finance.index_prices, " in (refused.value.hint or "")


def test_an_unknown_domain_or_a_dataset_of_another_layer_or_domain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no domain 'operation'") as refused:
        load().select(domain="operation")
    assert "known: finance, operations, sales" in (refused.value.hint or "")
    with pytest.raises(UsageError, match=r"gold\.operations\.fact_flight is not silver") as refused:
        load().select(layers=("silver",), dataset="gold.operations.fact_flight")
    assert "layer gold" in (refused.value.hint or "")
    with pytest.raises(UsageError, match=r"gold\.operations\.fact_flight is not of domain shop") as refused:
        load(write(tmp_path / "shop")).select(domain="shop", dataset="gold.operations.fact_flight")
    assert "name operations" in (refused.value.hint or "")


def test_changed_code_has_another_fingerprint(tmp_path: Path) -> None:
    name = "silver.shop.orders"
    one, same, other = (
        load(write(tmp_path / str(i), silver=text)).transforms[name]
        for i, text in enumerate((SILVER_PY, SILVER_PY, SILVER_PY + "\n"))
    )
    assert one.fingerprint == same.fingerprint != other.fingerprint
