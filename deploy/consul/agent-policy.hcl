# For the agent itself, so that it can put its host into the catalog:
#   consul acl policy create -name agent -rules @agent-policy.hcl
#   consul acl set-agent-token agent "$(consul acl token create -policy-name agent -format json | jq -r .SecretID)"

node_prefix "" {
  policy = "write"
}

service_prefix "" {
  policy = "read"
}
