"""PostgreSQL and Valkey from wheels, under TRAINMON_HOME. Importing this starts nothing."""
