"""The tables of schema `ops` beyond the run journal's own (`medallion.lakehouse.journal_sql`).

`PROJECTION` is filled at the end of each run and publication, and can be made anew at any time from Nessie's log, the
evidence, the journal and the ledgers (`medallion ops rebuild`). `ALERTS` and `AUDIT` are primary: nothing else holds them.
"""

from __future__ import annotations

from medallion.lakehouse.audit_sql import TABLE as AUDIT

__all__ = ["ALERTS", "AUDIT", "PROJECTION"]

PROJECTION = """
CREATE TABLE IF NOT EXISTS ops.datasets (
  dataset text PRIMARY KEY,
  domain text NOT NULL,
  layer text NOT NULL,
  name text NOT NULL,
  zone text NOT NULL,
  owner text,
  description text,
  contract_version text NOT NULL,
  rules int NOT NULL
);
COMMENT ON TABLE ops.datasets IS 'the contracts as they were when a run last ended';

CREATE TABLE IF NOT EXISTS ops.commits (
  main_hash text PRIMARY KEY,
  n bigint NOT NULL UNIQUE,
  committed_at timestamptz NOT NULL,
  run_id text,
  kind text,
  logical_date date,
  message text NOT NULL
);
CREATE INDEX IF NOT EXISTS commits_of_run ON ops.commits (run_id);
COMMENT ON TABLE ops.commits IS 'main''s log; n counts from 1, in order';

CREATE TABLE IF NOT EXISTS ops.volumes (
  main_hash text NOT NULL REFERENCES ops.commits ON DELETE CASCADE,
  dataset text NOT NULL,
  rows bigint NOT NULL,
  files bigint NOT NULL,
  bytes bigint NOT NULL,
  added_rows bigint NOT NULL,
  deleted_rows bigint NOT NULL,
  added_bytes bigint NOT NULL,
  PRIMARY KEY (dataset, main_hash)
);
COMMENT ON TABLE ops.volumes IS
  'a table as a whole after a commit that changed it, and what that commit added and deleted; quarantine tables too';

CREATE TABLE IF NOT EXISTS ops.written (
  run_id text NOT NULL,
  n int NOT NULL,
  dataset text NOT NULL,
  logical_date date,
  merged boolean NOT NULL,
  rows_in bigint NOT NULL,
  rows_out bigint NOT NULL,
  quarantined bigint NOT NULL,
  warned bigint NOT NULL,
  dropped jsonb NOT NULL,
  seconds double precision NOT NULL,
  score double precision,
  reason text,
  PRIMARY KEY (run_id, n)
);
CREATE INDEX IF NOT EXISTS written_of ON ops.written (dataset, logical_date);
COMMENT ON TABLE ops.written IS
  'what runs wrote, one row for each date of each dataset, of failed runs too; n is the write''s number in the run''s story, '
  'logical_date that of the run where a table is made whole; merged: its commit is in main''s log, also if it was reverted since '
  '(ops.runs.reverted_by)';

CREATE TABLE IF NOT EXISTS ops.rule_results (
  run_id text NOT NULL,
  n int NOT NULL,
  rule text NOT NULL,
  dataset text NOT NULL,
  logical_date date,
  severity text NOT NULL,
  passed boolean NOT NULL,
  bad bigint NOT NULL,
  judged bigint NOT NULL,
  tolerance double precision NOT NULL,
  decided_by text,
  description text NOT NULL,
  PRIMARY KEY (run_id, n, rule)
);
CREATE INDEX IF NOT EXISTS rule_results_of ON ops.rule_results (dataset, logical_date);
COMMENT ON TABLE ops.rule_results IS
  'the verdict of every rule; of as_usual, bad counts unusual metrics, judged the dates that they were compared with';

CREATE TABLE IF NOT EXISTS ops.anomalies (
  run_id text NOT NULL,
  n int NOT NULL,
  dataset text NOT NULL,
  logical_date date,
  metric text NOT NULL,
  "column" text NOT NULL,
  bin text NOT NULL,
  value double precision,
  expected double precision,
  low double precision,
  high double precision,
  description text NOT NULL,
  PRIMARY KEY (run_id, n, metric, "column", bin)
);

CREATE TABLE IF NOT EXISTS ops.layer_scores (
  run_id text NOT NULL,
  layer text NOT NULL,
  score double precision NOT NULL,
  PRIMARY KEY (run_id, layer)
);

CREATE TABLE IF NOT EXISTS ops.deliveries (
  run_id text NOT NULL,
  dataset text NOT NULL,
  delivery text NOT NULL,
  logical_date date NOT NULL,
  uri text NOT NULL,
  sha256 text NOT NULL,
  rows bigint NOT NULL,
  PRIMARY KEY (run_id, dataset, delivery)
);

CREATE TABLE IF NOT EXISTS ops.reads (
  run_id text NOT NULL,
  dataset text NOT NULL,
  main_hash text NOT NULL,
  snapshot_id bigint,
  metadata_location text,
  PRIMARY KEY (run_id, dataset)
);
COMMENT ON TABLE ops.reads IS 'the tables that a run read, at which commit of main, and which version of them that was';

CREATE TABLE IF NOT EXISTS ops.schema_versions (
  dataset text NOT NULL,
  version int NOT NULL,
  main_hash text NOT NULL,
  committed_at timestamptz NOT NULL,
  run_id text,
  contract_version text,
  fingerprint text,
  changed jsonb NOT NULL,
  columns jsonb NOT NULL,
  PRIMARY KEY (dataset, version)
);
COMMENT ON TABLE ops.schema_versions IS
  'changed: a text for each difference from the version before; columns: a list of name and type';

CREATE TABLE IF NOT EXISTS ops.publications (
  target text NOT NULL,
  sequence bigint NOT NULL,
  publication_id text NOT NULL,
  main_hash text NOT NULL,
  published_at timestamptz NOT NULL,
  runs jsonb NOT NULL,
  changed jsonb NOT NULL,
  rows jsonb NOT NULL,
  staged_bytes bigint NOT NULL,
  reencoded_bytes bigint NOT NULL,
  PRIMARY KEY (target, sequence)
);
COMMENT ON TABLE ops.publications IS 'the ledgers; changed: names of tables and marts; rows: of every one of them';

CREATE TABLE IF NOT EXISTS ops.lineage (
  source_kind text NOT NULL CHECK (source_kind IN ('landing', 'dataset', 'mart')),
  source text NOT NULL,
  source_column text NOT NULL,
  target_kind text NOT NULL CHECK (target_kind IN ('dataset', 'warehouse', 'mart', 'exposure')),
  target text NOT NULL,
  target_column text NOT NULL,
  how text NOT NULL,
  PRIMARY KEY (source_kind, source, source_column, target_kind, target, target_column)
);
COMMENT ON TABLE ops.lineage IS
  'what comes from what, as the transforms, contracts and dbt''s manifest say now; columns are empty for a table as a whole. '
  'how: read, judged by, identity, expression, condition, copied';

CREATE TABLE IF NOT EXISTS ops.freshness (
  dataset text PRIMARY KEY,
  newest_date date,
  merged_at timestamptz,
  next_date date,
  due_at timestamptz,
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE ops.freshness ADD COLUMN IF NOT EXISTS seen_at timestamptz NOT NULL DEFAULT clock_timestamp();
COMMENT ON TABLE ops.freshness IS
  'next_date: the logical date that is to come next by the contract''s SLA and calendar, due_at: when; both NULL without an SLA. '
  'seen_at: when a process looked last that knows the contract';

CREATE TABLE IF NOT EXISTS ops.projected (
  source text PRIMARY KEY,
  position text NOT NULL,
  projected_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS runs_by_change ON ops.runs (changed_at);
CREATE INDEX IF NOT EXISTS steps_of_publications ON ops.steps (step_id) WHERE name = 'publish.commit';
COMMENT ON TABLE ops.projected IS 'how far the projection has come in each source: main (a hash), journal (a time), '
  'contracts (a hash), publications (a step), ledger.<target> (sequence:publication_id)';
"""

ALERTS = """
CREATE TABLE IF NOT EXISTS ops.alerts (
  alert_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  occurrence text NOT NULL UNIQUE,
  rule text NOT NULL,
  kind text NOT NULL,
  severity text NOT NULL CHECK (severity IN ('critical', 'error', 'warning')),
  dataset text,
  run_id text,
  logical_date date,
  summary text NOT NULL,
  command text NOT NULL,
  detail jsonb NOT NULL DEFAULT '{}',
  opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  acknowledged_at timestamptz,
  acknowledged_by text,
  resolved_at timestamptz,
  resolved_why text,
  silence_id bigint
);
COMMENT ON TABLE ops.alerts IS
  'occurrence: what makes it one and the same, to be told once; command: looks further; detail: figures, sample rows';

CREATE TABLE IF NOT EXISTS ops.alert_messages (
  message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  channel text NOT NULL,
  event text NOT NULL CHECK (event IN ('opened', 'resolved')),
  alert_ids bigint[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  tries int NOT NULL DEFAULT 0,
  next_try_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  sent_at timestamptz,
  error text,
  set_aside_at timestamptz
);
ALTER TABLE ops.alert_messages ADD COLUMN IF NOT EXISTS set_aside_at timestamptz;
COMMENT ON TABLE ops.alert_messages IS
  'what is to be sent, written in the transaction that opens or resolves alerts; kept until it was sent. '
  'set_aside_at: its channel refused it time and again, and took others';

CREATE TABLE IF NOT EXISTS ops.alert_runs (
  run_id text PRIMARY KEY,
  looked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS steps_of_whole_publications ON ops.steps (began_at) WHERE name = 'publish.whole';
COMMENT ON TABLE ops.alert_runs IS 'the runs that ended and were looked at for alerts, in the transaction that opened these';

CREATE TABLE IF NOT EXISTS ops.silences (
  silence_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rule text,
  dataset text,
  until timestamptz NOT NULL,
  who text NOT NULL,
  why text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""
