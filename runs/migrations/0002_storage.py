"""Storage parameters that Django has no words for.

Packed chunks are compressed already (EXTERNAL: out of line, not tried again); tails are
updated in place at each arrival, so a page keeps room for the new version of a row (HOT).
"""

from django.db import migrations

FORWARD = """
ALTER TABLE runs_serieschunk ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE runs_seriestail ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE runs_seriestail SET (fillfactor = 70);
"""
BACKWARD = """
ALTER TABLE runs_serieschunk ALTER COLUMN data SET STORAGE EXTENDED;
ALTER TABLE runs_seriestail ALTER COLUMN data SET STORAGE EXTENDED;
ALTER TABLE runs_seriestail RESET (fillfactor);
"""


class Migration(migrations.Migration):
    dependencies = [("runs", "0001_registry")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
