# A Consul agent on each host of a node or router; more of its settings (datacenter, retry_join, TLS) are the cluster's own.
# Nothing is allowed without a token: `consul acl bootstrap` makes the first one.

acl {
  enabled = true
  default_policy = "deny"
  # Tokens that are set by `consul acl set-agent-token` outlive a restart.
  enable_token_persistence = true
}
