# For both scripts.

serial() { dig +short "@$1" example.com SOA | cut -d' ' -f3; }

# settled waits until a server's zone has been the same for a second. Caddy's reload does not
# wait for requests that are under way: what they change is to be in the zone.
settled() {
	for try in 1 2 3; do
		before=$(serial "$1")
		sleep 1
		if [ "$(serial "$1")" = "$before" ]; then
			return 0
		fi
	done
	return 1
}

# same_serial waits, for some seconds, until all three have the same version of the zone.
same_serial() {
	for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		if [ "$(serial 192.0.2.1)" = "$(serial 192.0.2.2)" ] && [ "$(serial 192.0.2.1)" = "$(serial 192.0.2.3)" ]; then
			return 0
		fi
		sleep 0.1
	done
	return 1
}
