"""What the columns of a dataset are made of, as the facet of an OpenLineage event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medallion.lineage.events import Known


def folder(path: str) -> str:
    """The folder that all dates of a delivery have in common: `a/b` of `a/b/year={year}/`."""
    before, dated, _ = path.partition("{")
    return (before.rpartition("/")[0] if dated else before).rstrip("/")


def column_lineage(known: Known, dataset: str, *, published: bool = False) -> Any:
    """What the columns are made of: those of a table in the warehouse of the lake's, those of a mart of the tables there."""
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage

    in_warehouse, database = known.warehouse
    contract, made = known.domains.contracts.get(dataset), known.columns.get(dataset)

    def field_(source: str, column: str, type_: str, subtype: str | None) -> Any:
        place = (
            (in_warehouse, f"{database}.{source.partition('.')[2]}") if published and dataset != source else (known.lake, source)
        )
        return lineage.InputField(*place, column, [lineage.Transformation(type_, subtype)])

    if contract and (published or contract.delivery):
        fields = {}
        for column in contract.columns:
            if published:
                own = field_(dataset, column.name, "DIRECT", "IDENTITY")
            elif contract.delivery:
                at = folder(contract.delivery.path)
                identity = [lineage.Transformation("DIRECT", "IDENTITY")]
                own = lineage.InputField(f"s3://{contract.bucket}", at, column.source, identity)
            fields[column.name] = lineage.Fields([own])
        return lineage.ColumnLineageDatasetFacet(fields, [])
    if made is None:
        return None
    return lineage.ColumnLineageDatasetFacet(
        {
            name: lineage.Fields(
                [field_(*each, "DIRECT", "IDENTITY" if name in made.same else "TRANSFORMATION") for each in sorted(sources)]
            )
            for name, sources in made.direct.items()
        },
        [field_(*each, "INDIRECT", None) for each in sorted(made.conditions)],
    )
