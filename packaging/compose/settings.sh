#!/bin/sh
# Writes into an installation where its journal and its recordings are to be: the example's database and bucket.
#
#   settings.sh CERTIFICATES INSTALLATION
set -eu
umask 077
certificates=$1
cd "$2"
! grep -q '^journal' holdpoint.toml || { echo "holdpoint.toml says where the journal is already" >&2; exit 1; }

cp "$certificates/ca.pem" example-ca.pem
cp "$certificates/db.password" db.password
printf '[default]\naws_access_key_id = holdpoint\naws_secret_access_key = %s\n' "$(cat "$certificates/s3.password")" > s3.credentials
{
    sed '/^\[store\]$/a journal = "postgres://holdpoint@db/holdpoint"\nrecordings = "s3://recordings/mill-3"' holdpoint.toml
    cat <<'END'

[store.postgres]
password_file = "db.password"
ca = "example-ca.pem"
standby = "none"                    # an example: what was decided is lost with its one server

[store.s3]
credentials = "s3.credentials"
endpoint = "https://s3:9000"
ca = "example-ca.pem"
END
} > holdpoint.toml.new
sed -i 's/^listen = \["127.0.0.1:9443"\]/listen = ["0.0.0.0:9443"]    # the host says who reaches it/' holdpoint.toml.new
chown --reference=holdpoint.toml example-ca.pem db.password s3.credentials holdpoint.toml.new
mv holdpoint.toml.new holdpoint.toml
