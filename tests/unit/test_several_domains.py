"""Several domains at once: their own names, what one reads of another, and packages that bring one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medallion import domain
from medallion.domain import Domains
from medallion.errors import ContractError
from medallion.settings import Settings
from tests.small_domain import GOLD_PY, SILVER_PY, Document, write

FROM_BRONZE, FROM_SILVER = "(bronze_customers)", "(customers)"


def customers(folder: Path, name: str, *, silver: str = FROM_BRONZE, gold: str = FROM_SILVER) -> Path:
    """A domain with `customers` in bronze and silver, and gold `daily_totals`; what each transform reads."""

    def damage(contracts: dict[str, Document]) -> None:
        text = json.dumps(contracts).replace("shop", name).replace("orders", "customers")
        contracts.clear()
        contracts.update(json.loads(text))

    modules = {
        "silver": SILVER_PY.replace("orders(bronze_orders)", f"customers{silver}").replace("bronze_orders", "bronze_customers"),
        "gold": GOLD_PY.replace("(orders)", gold)
        .replace("orders.groupBy", "customers.groupBy")
        .replace('"orders"', '"customers"'),
    }
    return write(folder / name, damage, **modules)


def load(*folders: Path) -> Domains:
    return domain.load(Settings(domains=":".join(map(str, folders))))


def test_two_domains_may_both_have_customers(tmp_path: Path) -> None:
    domains = load(customers(tmp_path, "retail"), customers(tmp_path, "care"))
    for name in ("retail", "care"):
        assert domains.transforms[f"silver.{name}.customers"].inputs == {"bronze_customers": f"bronze.{name}.customers"}
        assert domains.transforms[f"gold.{name}.daily_totals"].inputs == {"customers": f"silver.{name}.customers"}
    functions = {domains.transforms[f"silver.{name}.customers"].function for name in ("retail", "care")}
    assert len(functions) == 2, "each runs its own"


def test_one_reads_silver_and_gold_of_another(tmp_path: Path) -> None:
    reads = "(customers, retail_customers, retail_gold_daily_totals)"
    domains = load(customers(tmp_path, "retail"), customers(tmp_path, "care", gold=reads))
    assert domains.transforms["gold.care.daily_totals"].inputs == {
        "customers": "silver.care.customers",
        "retail_customers": "silver.retail.customers",
        "retail_gold_daily_totals": "gold.retail.daily_totals",
    }
    listed = {one.domain: one for one in domain.summaries(Settings(domains=f"{tmp_path / 'retail'}:{tmp_path / 'care'}"))}
    assert (listed["care"].bronze, listed["care"].silver, listed["care"].gold) == (1, 1, 1)
    assert (listed["care"].reads, listed["retail"].reads) == (("gold.retail.daily_totals", "silver.retail.customers"), ())
    assert (listed["operations"].origin, listed["care"].origin) == ("built in", "folder")
    assert listed["care"].folder == str(tmp_path / "care")


def test_a_silver_that_reads_anothers_gold_comes_after_it(tmp_path: Path) -> None:
    reads = "(bronze_customers, retail_gold_daily_totals)"
    domains = load(customers(tmp_path, "retail"), customers(tmp_path, "care", silver=reads))
    position = domains.order.index
    assert position("silver.retail.customers") < position("gold.retail.daily_totals") < position("silver.care.customers")


@pytest.mark.parametrize("layer", ["silver", "gold"])
@pytest.mark.parametrize("parameter", ["retail_bronze_customers", "bronze_retail_customers", "retail_leads"])
def test_the_bronze_of_another_is_refused(tmp_path: Path, layer: str, parameter: str) -> None:
    retail = customers(tmp_path, "retail")
    leads = (retail / "bronze.customers.odcs.yaml").read_text().replace("retail.customers", "retail.leads")
    (retail / "bronze.leads.odcs.yaml").write_text(leads.replace("name: customers", "name: leads"))
    reads = {"silver": FROM_BRONZE, "gold": FROM_SILVER}[layer].replace(")", f", {parameter})")
    dataset = "bronze.retail.leads" if "leads" in parameter else "bronze.retail.customers"
    with pytest.raises(ContractError) as refused:
        load(retail, customers(tmp_path, "care", **{layer: reads}))
    assert refused.value.message.startswith(f"{tmp_path / 'care' / layer}.py:4:1: parameter '{parameter}' of '")
    assert f"names {dataset}, the bronze of another domain, which nobody else reads" in refused.value.message
    assert "gold.retail.daily_totals, silver.retail.customers" in (refused.value.hint or "")


def test_a_cycle_through_two_domains_is_refused_with_its_path(tmp_path: Path) -> None:
    care = customers(tmp_path, "care", silver="(bronze_customers, retail_gold_daily_totals)")
    retail = customers(tmp_path, "retail", gold="(customers, care_customers)")
    with pytest.raises(ContractError, match="the transforms form a cycle: ") as refused:
        load(care, retail)
    path = refused.value.message.rpartition(": ")[2].split(" → ")
    assert path[0] == path[-1]
    assert set(path) == {"silver.care.customers", "gold.retail.daily_totals"}


def test_a_name_that_fits_two_domains_is_refused(tmp_path: Path) -> None:
    retail = customers(tmp_path, "retail")
    text = (retail / "silver.customers.odcs.yaml").read_text().replace("retail.customers", "retail.eu_customers")
    (retail / "silver.eu_customers.odcs.yaml").write_text(text.replace("name: customers", "name: eu_customers"))
    with (retail / "silver.py").open("a") as module:
        module.write("\ndef eu_customers(bronze_customers):\n    return customers(bronze_customers)\n")
    europe = customers(tmp_path, "retail_eu")
    with pytest.raises(ContractError, match="'retail_eu_customers' of 'daily_totals' could be") as refused:
        load(retail, europe, customers(tmp_path, "care", gold="(customers, retail_eu_customers)"))
    assert "silver.retail.eu_customers or silver.retail_eu.customers" in refused.value.message
    clear = load(retail, europe, customers(tmp_path / "clear", "care", gold="(customers, retail_eu_silver_customers)"))
    assert clear.transforms["gold.care.daily_totals"].inputs["retail_eu_silver_customers"] == "silver.retail_eu.customers"


# ── installed packages ────────────────────────────────────────────────────────────────────────────
def install(site: Path, *, value: str = "acme_care", point: str = "care", gold: str = FROM_SILVER) -> None:
    """What an installer leaves behind: the package and its metadata, in a folder on the path."""
    site.mkdir()
    customers(site, "care", gold=gold).rename(site / "acme_care")
    (site / "acme_care" / "__init__.py").write_text("")
    (site / "acme_module.py").write_text("")
    (site / "acme_broken").mkdir()
    (site / "acme_broken" / "__init__.py").write_text("raise RuntimeError('not today')")
    info = site / "acme_care_domain-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-care-domain\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[medallion.domains]\n{point} = {value}\n")


def test_an_installed_package_is_a_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", gold="(customers, retail_customers)")
    monkeypatch.syspath_prepend(tmp_path / "site")
    domains = load(customers(tmp_path, "retail"))
    assert domains.select(domain="care") == ("bronze.care.customers", "silver.care.customers", "gold.care.daily_totals")
    assert domains.transforms["gold.care.daily_totals"].inputs["retail_customers"] == "silver.retail.customers"
    listed = {one.domain: one for one in domain.summaries(Settings(domains=str(tmp_path / "retail")))}
    assert (listed["care"].origin, listed["care"].folder) == (
        "package acme-care-domain 1.2",
        str(tmp_path / "site" / "acme_care"),
    )
    assert load(customers(tmp_path / "again", "retail"), tmp_path / "site" / "acme_care").select(domain="care"), (
        "one folder, once"
    )


@pytest.mark.parametrize(
    ("value", "point", "told"),
    [
        ("acme_nowhere", "care", "in 'acme_nowhere', which does not exist"),
        ("acme_module", "care", r"in 'acme_module': .*acme_module\.py is no package with contracts beside it"),
        ("acme_broken.part", "care", r"in 'acme_broken\.part', which cannot be imported: RuntimeError\('not today'\)"),
        ("acme_care", "caring", "the package acme-care-domain 1.2 calls this domain 'caring', its contracts call it 'care'"),
    ],
)
def test_a_package_that_brings_no_domain_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, point: str, told: str
) -> None:
    install(tmp_path / "site", value=value, point=point)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(ContractError, match=told) as refused:
        load()
    assert "acme-care-domain 1.2" in refused.value.message
