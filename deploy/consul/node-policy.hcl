# For nodes: they register themselves, renew their check and take it back, and look for the others.
#   consul acl policy create -name mishards-node -rules @node-policy.hcl
#   consul acl token create -policy-name mishards-node

# The name is discovery.service.
service "mishards" {
  policy = "write"
}

# Healthy services are only listed together with their hosts.
node_prefix "" {
  policy = "read"
}
