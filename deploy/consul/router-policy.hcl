# For routers: they look for nodes and write nothing.
#   consul acl policy create -name mishards-router -rules @router-policy.hcl
#   consul acl token create -policy-name mishards-router

service "mishards" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}
