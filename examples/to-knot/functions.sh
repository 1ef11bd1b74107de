# For both scripts: where the servers are.
bestdns=192.0.2.1
knot=192.0.2.2
peer=192.0.2.3

# serial prints nothing for a server that does not answer for the zone.
serial() { dig +short +time=1 +tries=2 "@$1" example.com SOA | awk '$3 ~ /^[0-9]+$/ { print $3 }'; }

# all_answer fails unless all three answer for the zone, before anything is changed.
all_answer() {
	for server in "$bestdns" "$knot" "$peer"; do
		if [ -z "$(serial "$server")" ]; then
			echo "$server does not answer for the zone; nothing was changed" >&2
			return 1
		fi
	done
}

# settled waits until a server's zone has been the same for so many quarters of a second.
# Caddy's reload does not wait for requests that are under way: what they change is to be in
# the zone. A server that does not answer is not settled. It looks twenty times at most.
settled() {
	same=0
	before=
	for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		now=$(serial "$1")
		if [ -n "$now" ] && [ "$now" = "$before" ]; then
			same=$((same + 1))
		else
			same=0
			before=$now
		fi
		if [ "$same" -ge "$2" ]; then
			return 0
		fi
		sleep 0.25
	done
	return 1
}

# same_serial waits, for a second or two, until all three have the same version of the zone.
same_serial() {
	for try in 1 2 3 4 5 6 7 8 9 10; do
		first=$(serial "$bestdns")
		if [ -n "$first" ] && [ "$(serial "$knot")" = "$first" ] && [ "$(serial "$peer")" = "$first" ]; then
			return 0
		fi
		sleep 0.1
	done
	return 1
}
