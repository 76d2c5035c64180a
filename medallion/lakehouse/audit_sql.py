"""The audit log in SQL: its table, the chain, and the triggers that record what happens to runs, in the same transaction.

Whoever inserts gives `action`, `object`, `outcome`, and as needed `run_id`, `detail`, `who`, `place`; sequence, time, the
hash before and the hash itself are given by the trigger, whatever was said. docs/audit.md has the canonical text in full.
"""

from __future__ import annotations

TABLE = """
CREATE TABLE IF NOT EXISTS ops.audit (
  sequence bigint PRIMARY KEY,
  at timestamptz NOT NULL,
  who text NOT NULL,
  place text NOT NULL,
  action text NOT NULL,
  object text NOT NULL,
  outcome text NOT NULL,
  run_id text,
  detail jsonb NOT NULL,
  previous text NOT NULL,
  hash text NOT NULL UNIQUE
);
COMMENT ON TABLE ops.audit IS
  'append-only; sequence has no gaps; hash is the SHA-256 of the record with the hash of the one before; place: host and process';
CREATE TABLE IF NOT EXISTS ops.contracts_seen (
  dataset text PRIMARY KEY,
  version text NOT NULL,
  fingerprint text NOT NULL,
  before text
);
COMMENT ON TABLE ops.contracts_seen IS
  'each contract as the newest run saw it, and the version before: records of the audit log that say so are removed some day';
INSERT INTO ops.contracts_seen (dataset, version, fingerprint)
  SELECT DISTINCT ON (object) object, detail->>'version', detail->>'fingerprint' FROM ops.audit
  WHERE action = 'contract.changed' AND detail ?& ARRAY['version', 'fingerprint'] ORDER BY object, sequence DESC
  ON CONFLICT DO NOTHING;
DROP INDEX IF EXISTS ops.audit_contracts;
CREATE INDEX IF NOT EXISTS audit_at ON ops.audit (at);
CREATE INDEX IF NOT EXISTS audit_of_run ON ops.audit (run_id) WHERE run_id IS NOT NULL;
"""
LONGEST_WAIT_S = 30
"""So long a statement waits for a lock that another transaction holds."""
GENESIS = "0" * 64
"""What the first record of all has as the hash of the one before."""
EXPORTED_THROUGH = """
WITH RECURSIVE spans AS (
  SELECT (b.detail->>'first')::bigint AS first, (b.detail->>'last')::bigint AS last
  FROM ops.audit b JOIN ops.audit e ON (e.detail->>'begun')::bigint = b.sequence AND e.outcome = 'done'
  WHERE b.action = 'audit.exported' AND e.action = 'audit.exported' AND b.detail->>'last' IS NOT NULL
), reached(through) AS (
  SELECT coalesce(min(sequence), 1) - 1 FROM ops.audit
  UNION
  SELECT (SELECT max(last) FROM spans WHERE first <= reached.through + 1 AND last > reached.through) FROM reached
  WHERE reached.through IS NOT NULL
)
SELECT max(through) AS through FROM reached
"""
CHAIN = f"""
CREATE OR REPLACE FUNCTION ops.audit_text(ops.audit) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
  SELECT string_agg(CASE WHEN one IS NULL THEN '-,' ELSE octet_length(convert_to(one, 'UTF8')) || ':' || one || ',' END, ''
    ORDER BY n)
  FROM unnest(ARRAY[($1).previous, ($1).sequence::text,
    to_char(($1).at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), ($1).who, ($1).place, ($1).action, ($1).object,
    ($1).outcome, ($1).run_id, ($1).detail::text]) WITH ORDINALITY AS each(one, n)
$$;
CREATE OR REPLACE FUNCTION ops.audit_turn() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  given text := current_setting('lock_timeout');
BEGIN
  IF given = '0' THEN
    PERFORM set_config('lock_timeout', '{LONGEST_WAIT_S}s', true);
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('medallion.audit'));
  PERFORM set_config('lock_timeout', given, true);
END $$;
CREATE OR REPLACE FUNCTION ops.audit_chain() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  actor jsonb := coalesce(nullif(current_setting('medallion.actor', true), ''), '{{}}');
  head record;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'the audit log is appended to at READ COMMITTED alone: else the newest record would not be seen';
  END IF;
  PERFORM ops.audit_turn();
  SELECT sequence, hash INTO head FROM ops.audit ORDER BY sequence DESC LIMIT 1;
  NEW.sequence := coalesce(head.sequence, 0) + 1;
  NEW.previous := coalesce(head.hash, '{GENESIS}');
  NEW.at := clock_timestamp();
  NEW.who := coalesce(NEW.who, actor->>'who', session_user || ' of PostgreSQL');
  NEW.place := coalesce(NEW.place, actor->>'place',
    coalesce(host(inet_client_addr()), 'local') || ' backend ' || pg_backend_pid());
  NEW.detail := jsonb_build_object('command', coalesce(actor->>'command', nullif(current_setting('application_name'), ''), '-'))
    || coalesce(NEW.detail, '{{}}');
  NEW.hash := encode(sha256(convert_to(ops.audit_text(NEW), 'UTF8')), 'hex');
  RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION ops.audit_stays() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  callers text;
BEGIN
  GET DIAGNOSTICS callers = PG_CONTEXT;
  IF TG_OP = 'DELETE' AND callers ~ ('^PL/pgSQL function ops\\.audit_stays\\(\\) line \\d+ at GET DIAGNOSTICS\\n'
    'SQL statement "DELETE FROM ops\\.audit WHERE sequence <= through"\\n'
    'PL/pgSQL function ops\\.audit_prune\\(bigint,jsonb\\) line \\d+ at SQL statement(\\n|$)') THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'ops.audit is append-only: % is refused', TG_OP
    USING HINT = 'records older than audit.keep_days are removed by `medallion audit prune`';
END $$;
CREATE OR REPLACE FUNCTION ops.audit_exported() RETURNS bigint LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
{EXPORTED_THROUGH}$$;
CREATE OR REPLACE FUNCTION ops.audit_prune(through bigint, told jsonb) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  last record;
  removed bigint;
  newest timestamptz;
BEGIN
  PERFORM ops.audit_turn();
  SELECT sequence, hash INTO STRICT last FROM ops.audit WHERE sequence = through;
  SELECT count(*), max(at) INTO removed, newest FROM ops.audit WHERE sequence <= through;
  IF (newest < clock_timestamp() - make_interval(hours => 24 * (told->>'keep_days')::int)) IS NOT TRUE THEN
    RAISE EXCEPTION 'records up to % are not older than keep_days (%)', through, coalesce(told->>'keep_days', 'not given');
  END IF;
  IF NOT coalesce((told->>'not_exported')::boolean, false) AND coalesce(ops.audit_exported(), 0) < through THEN
    RAISE EXCEPTION 'records up to % were not all exported', through;
  END IF;
  INSERT INTO ops.audit (action, object, outcome, detail) VALUES ('audit.pruned', 'records up to ' || through, 'done',
    told || jsonb_build_object('through', last.sequence, 'hash', last.hash, 'at', newest, 'records', removed));
  DELETE FROM ops.audit WHERE sequence <= through;
  RETURN removed;
END $$;
CREATE OR REPLACE TRIGGER audit_chain BEFORE INSERT ON ops.audit FOR EACH ROW EXECUTE FUNCTION ops.audit_chain();
CREATE OR REPLACE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON ops.audit
  FOR EACH STATEMENT EXECUTE FUNCTION ops.audit_stays();
"""
"""The hash is over netstrings (`length:bytes,`; `-,` for NULL): no text in one field can pass for the next one's."""
RUNS = """
CREATE OR REPLACE FUNCTION ops.audit_run() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  actor jsonb := coalesce(nullif(current_setting('medallion.actor', true), ''), '{}');
  one ops.runs := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  was text := CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END;
  what text := CASE
    WHEN TG_OP = 'DELETE' THEN 'run.deleted'
    WHEN TG_OP = 'INSERT' AND one.retry_of IS NOT NULL THEN 'run.opened-again'
    WHEN TG_OP = 'INSERT' THEN 'run.opened'
    WHEN was = 'reverted' AND one.state = 'merged' THEN 'run.returned'
    ELSE 'run.' || one.state END;
BEGIN
  INSERT INTO ops.audit (action, object, outcome, run_id, detail) VALUES (
    what, one.kind || coalesce(' ' || one.logical_date, ''),
    CASE WHEN what IN ('run.failed', 'run.conflicted') THEN 'failed' WHEN what = 'run.merging' THEN 'begun' ELSE 'done' END,
    one.run_id,
    jsonb_strip_nulls(jsonb_build_object(
      'state', CASE WHEN TG_OP = 'INSERT' THEN nullif(one.state, 'open') END, 'before', was,
      'branch', CASE WHEN what IN ('run.opened', 'run.opened-again', 'run.failed') THEN one.branch END,
      'sealed', CASE WHEN what = 'run.failed' THEN true END,
      'h0', CASE WHEN TG_OP = 'INSERT' THEN one.h0 END, 'retry_of', CASE WHEN TG_OP = 'INSERT' THEN one.retry_of END,
      'judged', CASE WHEN what = 'run.merging' THEN one.judged_hash END,
      'merged', CASE WHEN what IN ('run.merged', 'run.published') THEN one.merged_hash END,
      'reverted_by', CASE WHEN what = 'run.reverted' THEN one.reverted_by END,
      'datasets', CASE WHEN what IN ('run.merging', 'run.merged') THEN
        (SELECT jsonb_agg(DISTINCT w->>'dataset') FROM jsonb_array_elements(one.story->'writes') AS w) END,
      'profile', CASE WHEN TG_OP = 'INSERT' THEN actor->>'profile' END,
      'secrets', CASE WHEN TG_OP = 'INSERT' THEN actor->'secrets' END)));
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION ops.audit_step() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  INSERT INTO ops.audit (action, object, outcome, run_id, detail) VALUES (
    CASE NEW.name WHEN 'gate' THEN 'run.gated' WHEN 'run.branch' THEN 'branch.created' WHEN 'publish.commit'
      THEN 'publication.committed' ELSE 'branch.dropped' END,
    CASE NEW.name WHEN 'gate' THEN 'rules' WHEN 'publish.commit' THEN 'warehouse' ELSE coalesce(NEW.detail->>'branch', '-') END,
    CASE WHEN NEW.outcome = 'done' AND NEW.name = 'gate' THEN 'passed' WHEN NEW.outcome = 'done' THEN 'done'
      WHEN NEW.outcome LIKE 'GateRefused%' THEN 'refused' ELSE 'failed' END,
    NEW.run_id,
    jsonb_strip_nulls(jsonb_build_object('step', NEW.name, 'at', NEW.detail->'at', 'judged', NEW.detail->'judged',
      'sequence', NEW.detail->'sequence', 'publication', NEW.detail->'publication_id',
      'error', CASE WHEN NEW.outcome <> 'done' THEN split_part(NEW.outcome, ':', 1) END)));
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER audit_opened AFTER INSERT ON ops.runs FOR EACH ROW EXECUTE FUNCTION ops.audit_run();
CREATE OR REPLACE TRIGGER audit_changed AFTER UPDATE OF state ON ops.runs FOR EACH ROW
  WHEN (NEW.state <> OLD.state AND NEW.state NOT IN ('written', 'validated')) EXECUTE FUNCTION ops.audit_run();
CREATE OR REPLACE TRIGGER audit_deleted AFTER DELETE ON ops.runs FOR EACH ROW EXECUTE FUNCTION ops.audit_run();
CREATE OR REPLACE TRIGGER audit_ended AFTER UPDATE OF outcome ON ops.steps FOR EACH ROW
  WHEN (NEW.name IN ('gate', 'run.branch', 'run.branch.remove', 'run.branch.expire', 'publish.commit'))
  EXECUTE FUNCTION ops.audit_step();
"""
"""Of an error only its kind is recorded: what it says can quote rows, and stands in the journal."""
_CHANGED = "((new.state <> old.state) AND (new.state <> ALL (ARRAY['written'::text, 'validated'::text])))"
_NAMED = (
    "(new.name = ANY (ARRAY['gate'::text, 'run.branch'::text, 'run.branch.remove'::text, 'run.branch.expire'::text, "
    "'publish.commit'::text]))"
)
_RUN = "FOR EACH ROW EXECUTE FUNCTION ops.audit_run()"
TRIGGERS = {
    "ops.audit": {
        "audit_chain": "BEFORE INSERT ON ops.audit FOR EACH ROW EXECUTE FUNCTION ops.audit_chain()",
        "audit_stays": "BEFORE DELETE OR UPDATE OR TRUNCATE ON ops.audit FOR EACH STATEMENT EXECUTE FUNCTION ops.audit_stays()",
    },
    "ops.runs": {
        "audit_opened": f"AFTER INSERT ON ops.runs {_RUN}",
        "audit_changed": f"AFTER UPDATE OF state ON ops.runs FOR EACH ROW WHEN ({_CHANGED}) EXECUTE FUNCTION ops.audit_run()",
        "audit_deleted": f"AFTER DELETE ON ops.runs {_RUN}",
    },
    "ops.steps": {
        "audit_ended": f"AFTER UPDATE OF outcome ON ops.steps FOR EACH ROW WHEN ({_NAMED}) EXECUTE FUNCTION ops.audit_step()",
    },
}
"""What has to be there, and on, for the log to be whole: as `pg_get_triggerdef` says it after the trigger's name."""
APPEND = """
INSERT INTO ops.audit (who, place, action, object, outcome, run_id, detail)
VALUES (%(who)s, %(place)s, %(action)s, %(object)s, %(outcome)s, %(run_id)s, %(detail)s) RETURNING sequence
"""
CONTRACTS = """
WITH changed AS (
  INSERT INTO ops.contracts_seen AS seen (dataset, version, fingerprint)
  SELECT dataset, version, fingerprint FROM jsonb_to_recordset(%(contracts)s) AS c(dataset text, version text, fingerprint text)
  ORDER BY dataset
  ON CONFLICT (dataset) DO UPDATE SET version = excluded.version, fingerprint = excluded.fingerprint, before = seen.version
  WHERE seen.fingerprint <> excluded.fingerprint
  RETURNING *
)
INSERT INTO ops.audit (action, object, outcome, run_id, detail)
SELECT 'contract.changed', dataset, 'done', %(run_id)s, jsonb_strip_nulls(jsonb_build_object(
  'version', version, 'fingerprint', fingerprint, 'before', before))
FROM changed ORDER BY dataset
"""
"""A contract that two runs see at once is recorded by one of them: its row in `contracts_seen` is locked until then."""
HEAD = "SELECT sequence, hash FROM ops.audit ORDER BY sequence DESC LIMIT 1"
