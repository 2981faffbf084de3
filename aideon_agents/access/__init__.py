"""Who may use the service: users, tiers, roles, keys, quotas, flags and the audit log. It knows nothing of HTTP."""
