"""The commands of one subject each, such as `medallion sandbox`; `medallion.cli` puts them together."""
