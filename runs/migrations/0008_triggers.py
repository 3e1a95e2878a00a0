"""What the database itself keeps: the words of each run, and an audit trail that only grows.

The words are written by triggers on the whole statement, so that a sync of ten thousand
runs pays once, and only for runs whose words changed.  A word is what stands between
white space and ASCII punctuation, in lower case: ``train/loss=0.5`` is train, loss, 0, 5.
Bounded by what a tsvector takes (1 MB): 200,000 characters, 20,000 words of 100.
"""

from django.db import migrations

WORDS = r"""
CREATE FUNCTION runs_words(texts text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(array_to_tsvector(array_agg(word)), ''::tsvector) FROM (
        SELECT DISTINCT left(lower(part), 100) AS word
        FROM regexp_split_to_table(left(texts, 200000), '[\s!-/:-@\[-`{-~]+') AS part
        WHERE part <> '' LIMIT 20000) AS found
$$;

CREATE FUNCTION runs_refresh_texts(ids bigint[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO runs_runtext (run_id, name, words)
    SELECT r.id, left(r.name, 1000), runs_words(concat_ws(' ',
        r.name, d.name, array_to_string(r.tags, ' '), n.texts, r.error_type, left(r.error, 20000), r.host,
        r.params::text, left(r.error_stack, 20000)))
    FROM runs_run r
    LEFT JOIN runs_dataset d ON d.id = r.dataset_id
    LEFT JOIN LATERAL (SELECT left(string_agg(text, ' '), 60000) AS texts FROM runs_note WHERE run_id = r.id) n ON true
    WHERE r.id = ANY(ids)
    ON CONFLICT (run_id) DO UPDATE SET name = EXCLUDED.name, words = EXCLUDED.words
$$;

CREATE FUNCTION runs_run_texts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE ids bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(n.id) INTO ids FROM after_rows n;
    ELSE
        SELECT array_agg(n.id) INTO ids FROM after_rows n JOIN before_rows o ON o.id = n.id
        WHERE (n.name, n.dataset_id, n.tags, n.error_type, n.error, n.host, n.params, n.error_stack)
            IS DISTINCT FROM
            (o.name, o.dataset_id, o.tags, o.error_type, o.error, o.host, o.params, o.error_stack);
        -- a note that is being written waits here, or is waited for: neither misses the other's words
        PERFORM 1 FROM runs_runtext WHERE run_id = ANY(ids) ORDER BY run_id FOR UPDATE;
    END IF;
    IF ids IS NOT NULL THEN
        PERFORM runs_refresh_texts(ids);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER runs_run_texts_new AFTER INSERT ON runs_run
    REFERENCING NEW TABLE AS after_rows FOR EACH STATEMENT EXECUTE FUNCTION runs_run_texts();
CREATE TRIGGER runs_run_texts_changed AFTER UPDATE ON runs_run
    REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows FOR EACH STATEMENT EXECUTE FUNCTION runs_run_texts();

CREATE FUNCTION runs_note_texts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE of_run bigint := CASE WHEN TG_OP = 'DELETE' THEN OLD.run_id ELSE NEW.run_id END;
BEGIN
    PERFORM 1 FROM runs_runtext WHERE run_id = of_run FOR UPDATE;
    IF FOUND THEN  -- else the run itself is being deleted
        PERFORM runs_refresh_texts(ARRAY[of_run]);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER runs_note_texts AFTER INSERT OR UPDATE OR DELETE ON runs_note
    FOR EACH ROW EXECUTE FUNCTION runs_note_texts();

SELECT runs_refresh_texts(array_agg(id)) FROM runs_run HAVING count(*) > 0;
"""
NO_WORDS = """
DROP TRIGGER runs_note_texts ON runs_note;
DROP TRIGGER runs_run_texts_changed ON runs_run;
DROP TRIGGER runs_run_texts_new ON runs_run;
DROP FUNCTION runs_note_texts();
DROP FUNCTION runs_run_texts();
DROP FUNCTION runs_refresh_texts(bigint[]);
DROP FUNCTION runs_words(text);
"""
ONLY_GROWS = """
CREATE FUNCTION runs_audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail only grows: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER runs_audit_only_grows BEFORE UPDATE OR DELETE ON runs_auditentry
    FOR EACH ROW EXECUTE FUNCTION runs_audit_only_grows();
"""
ANYTHING_GOES = """
DROP TRIGGER runs_audit_only_grows ON runs_auditentry;
DROP FUNCTION runs_audit_only_grows();
"""


class Migration(migrations.Migration):
    dependencies = [("runs", "0007_people")]
    operations = [
        migrations.RunSQL(WORDS, NO_WORDS),
        migrations.RunSQL(ONLY_GROWS, ANYTHING_GOES),
    ]
