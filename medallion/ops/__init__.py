"""What is known of the lake's running, as tables of PostgreSQL's schema `ops` for dashboards, alerts and people."""
