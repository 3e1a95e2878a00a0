"""The audit trail cannot be emptied either, nor by a session that plays the replica; and it is found by who and what."""

from django.db import migrations, models

GUARDED = """
CREATE TRIGGER runs_audit_is_not_emptied BEFORE TRUNCATE ON runs_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION runs_audit_only_grows();
ALTER TABLE runs_auditentry ENABLE ALWAYS TRIGGER runs_audit_only_grows, ENABLE ALWAYS TRIGGER runs_audit_is_not_emptied;
"""
AS_BEFORE = """
DROP TRIGGER runs_audit_is_not_emptied ON runs_auditentry;
ALTER TABLE runs_auditentry ENABLE TRIGGER runs_audit_only_grows;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('runs', '0019_replaced'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['who', 'id'], name='audit_by_who'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['action', 'id'], name='audit_by_action'),
        ),
        migrations.RunSQL(GUARDED, AS_BEFORE),
    ]
