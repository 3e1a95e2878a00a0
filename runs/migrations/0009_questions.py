"""What questions are asked with: beginnings of words, and parameters as numbers or text.

Words are parted as runs_words parts them (0008).  A text counts as a number where it is
written as one; longer ones stay text, so that no cast can fail.
"""

from django.db import migrations

FUNCTIONS = r"""
CREATE FUNCTION runs_prefixes(texts text) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT string_agg('''' || left(lower(part), 100) || ''':*', ' & ')::tsquery
    FROM regexp_split_to_table(texts, '[\s!-/:-@\[-`{-~]+') AS part WHERE part <> ''
$$;

CREATE FUNCTION runs_number(value jsonb) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value)
        WHEN 'number' THEN value::numeric
        WHEN 'string' THEN CASE
            WHEN value #>> '{}' ~ '^[+-]?([0-9]{1,60}(\.[0-9]{0,60})?|\.[0-9]{1,60})([eE][+-]?[0-9]{1,3})?$'
            THEN (value #>> '{}')::numeric END
    END
$$;

CREATE FUNCTION runs_text(value jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'null' THEN 'null' ELSE value #>> '{}' END
$$;
"""
NONE = """
DROP FUNCTION runs_prefixes(text);
DROP FUNCTION runs_number(jsonb);
DROP FUNCTION runs_text(jsonb);
"""


class Migration(migrations.Migration):
    dependencies = [("runs", "0008_triggers")]
    operations = [migrations.RunSQL(FUNCTIONS, NONE)]
