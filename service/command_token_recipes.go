package service

import "github.com/caddy-dns/bestdns/internal/access"

// This file is what users of other projects' clients write where. docs/clients.md has these texts
// too, and a test compares them. The names of settings are those of the clients' own documentation.

// way is what a client of another project speaks.
type way int

const (
	byHTTPReq way = iota + 1
	byACMEDNS
	byDynDNS2
	byUpdate // RFC 2136, signed with a key (RFC 8945)
)

// option returns the option of the handler that has to be on, "" for what comes to the name server.
func (w way) option() string {
	switch w {
	case byHTTPReq:
		return "httpreq"
	case byACMEDNS:
		return "acme_dns"
	case byDynDNS2:
		return "dyndns2"
	}
	return ""
}

// recipe is a client of another project, and what has it do its work with this service.
type recipe struct {
	name  string // as --for has it
	title string // as its users call it
	way   way
	// needs is the right without which it can do nothing, and example what follows it.
	needs   access.Verb
	example string
	pieces  []piece
}

// piece is one text to paste. In a recipe, both texts are templates of [recipeData].
type piece struct {
	// Where says where the text goes. It ends in a colon.
	Where string `json:"where"`
	// Language is what the text is written in.
	Language string `json:"language"`
	Text     string `json:"text"`
}

// recipeData is what templates can use.
type recipeData struct {
	// Name is the client's, of letters, digits and hyphens only: a user name, and that of the key.
	Name string
	// Token, or Secret in base64, is what the client proves with who it is.
	Token, Secret string
	// Endpoint is the API's URL without a final slash, and Host its host with the port.
	Endpoint, Host string
	// Server and Port are where the name server listens, Address both.
	Server, Port, Address string
	// Domains are the names of all rights of the kind that the client needs, each once.
	Domains []string
}

// tsigKeyFile is a key as tsig-keygen writes it and nsupdate -k reads it.
const tsigKeyFile = `key "{{.Name}}" {
	algorithm hmac-sha256;
	secret "{{.Secret}}";
};
`

// recipes are in the order in which they are listed.
var recipes = []recipe{
	{
		name: "acme-dns", title: "a client of acme-dns", way: byACMEDNS, needs: access.Register, example: `"under auth.example.org"`,
		pieces: []piece{
			{"For the client, as its acme-dns server; it registers an account for each domain, and says which CNAME to create. For lego and Traefik that is:", "sh", `export ACME_DNS_API_BASE={{.Endpoint}}/r/{{.Token}}
export ACME_DNS_STORAGE_PATH=/etc/lego/acme-dns.json
`},
			{"For acme.sh:", "sh", `export ACMEDNS_BASE_URL={{.Endpoint}}/r/{{.Token}}
`},
			{"For a client that takes an account and makes none, such as cert-manager, this makes one:", "sh", `curl -X POST -H "Authorization: Bearer {{.Token}}" {{.Endpoint}}/register
`},
		},
	},
	{
		name: "acme.sh", title: "acme.sh", way: byHTTPReq, needs: access.Certificates, example: "example.org",
		pieces: []piece{
			{"For acme.sh, which remembers the three in its account.conf:", "sh", `export ACMEPROXY_ENDPOINT={{.Endpoint}}
export ACMEPROXY_USERNAME={{.Name}}
export ACMEPROXY_PASSWORD={{.Token}}
acme.sh --issue --dns dns_acmeproxy --dnssleep 1{{range .Domains}} -d {{.}} -d '*.{{.}}'{{end}}
`},
		},
	},
	{
		name: "cert-manager", title: "cert-manager", way: byUpdate, needs: access.Certificates, example: `"under apps.example.org"`,
		pieces: []piece{
			{"For cert-manager, by kubectl apply -f:", "yaml", `apiVersion: v1
kind: Secret
metadata:
  name: bestdns-{{.Name}}
  namespace: cert-manager
stringData:
  tsig-secret: "{{.Secret}}"
---
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata:
  name: bestdns-{{.Name}}
spec:
  acme:
    server: https://acme-v02.api.letsencrypt.org/directory
    email: you@example.org
    privateKeySecretRef:
      name: bestdns-{{.Name}}-account
    solvers:
      - selector:
          dnsZones:{{range .Domains}}
            - {{.}}{{end}}
        dns01:
          rfc2136:
            nameserver: "{{.Address}}"
            tsigKeyName: {{.Name}}
            tsigAlgorithm: HMACSHA256
            tsigSecretSecretRef:
              name: bestdns-{{.Name}}
              key: tsig-secret
`},
		},
	},
	{
		name: "certbot", title: "certbot", way: byUpdate, needs: access.Certificates, example: "example.org",
		pieces: []piece{
			{"For certbot with its plugin dns-rfc2136, into /etc/letsencrypt/bestdns.ini:", "ini", `dns_rfc2136_server = {{.Server}}
dns_rfc2136_port = {{.Port}}
dns_rfc2136_name = {{.Name}}
dns_rfc2136_secret = {{.Secret}}
dns_rfc2136_algorithm = HMAC-SHA256
`},
			{"Then, as root:", "sh", `chmod 600 /etc/letsencrypt/bestdns.ini
certbot certonly --dns-rfc2136 --dns-rfc2136-credentials /etc/letsencrypt/bestdns.ini \
	--dns-rfc2136-propagation-seconds 0{{range .Domains}} -d {{.}} -d '*.{{.}}'{{end}}
`},
		},
	},
	{
		name: "ddclient", title: "ddclient", way: byDynDNS2, needs: access.Allow, example: `"home.example.org A AAAA"`,
		pieces: []piece{
			{"For ddclient, into /etc/ddclient.conf (mode 600); ddclient --help lists other ways to find the address:", "ini", `daemon=300
ssl=yes
usev4=webv4, webv4=ipify-ipv4
protocol=dyndns2
server={{.Host}}
login={{.Name}}
password={{.Token}}
{{range .Domains}}{{.}}
{{end}}`},
		},
	},
	{
		name: "dehydrated", title: "dehydrated", way: byUpdate, needs: access.Certificates, example: "example.org",
		pieces: []piece{
			{"For dehydrated, into /etc/dehydrated/bestdns.key (mode 600):", "", tsigKeyFile},
			{"Into /etc/dehydrated/bestdns-hook.sh (mode 755), which needs nsupdate:", "bash", `#!/usr/bin/env bash
set -eu

# update add|delete DOMAIN VALUE
update() {
	nsupdate -k /etc/dehydrated/bestdns.key <<END
server {{.Server}} {{.Port}}
zone $2.
update $1 _acme-challenge.$2. 0 TXT "$3"
send
END
}

handler=$1
shift
while [ "$#" -ge 3 ]; do # domain, name of the file, value: of each domain with HOOK_CHAIN=yes
	case $handler in
	deploy_challenge) update add "$1" "$3" ;;
	clean_challenge) update delete "$1" "$3" ;;
	*) break ;;
	esac
	shift 3
done
`},
			{"Into /etc/dehydrated/config:", "sh", `CHALLENGETYPE="dns-01"
HOOK="/etc/dehydrated/bestdns-hook.sh"
`},
			{"Then:", "sh", `dehydrated --register --accept-terms
dehydrated --cron -d "{{range $i, $d := .Domains}}{{if $i}} {{end}}{{$d}} *.{{$d}}{{end}}"
`},
		},
	},
	{
		name: "external-dns", title: "external-dns", way: byUpdate, needs: access.Allow, example: `"under k8s.example.org"`,
		pieces: []piece{
			{"For external-dns, by kubectl apply -f:", "yaml", `apiVersion: v1
kind: Secret
metadata:
  name: bestdns-{{.Name}}
  namespace: external-dns
stringData:
  tsig-secret: "{{.Secret}}"
`},
			{"Into the container of its deployment:", "yaml", `env:
  - name: EXTERNAL_DNS_RFC2136_TSIG_SECRET
    valueFrom:
      secretKeyRef:
        name: bestdns-{{.Name}}
        key: tsig-secret
args:
  - --source=ingress
{{range .Domains}}  - --domain-filter={{.}}
{{end}}  - --registry=txt
  - --txt-owner-id={{.Name}}
  - --provider=rfc2136
  - --rfc2136-host={{.Server}}
  - --rfc2136-port={{.Port}}
{{range .Domains}}  - --rfc2136-zone={{.}}
{{end}}  - --rfc2136-tsig-keyname={{.Name}}
  - --rfc2136-tsig-secret-alg=hmac-sha256
  - --rfc2136-tsig-axfr
`},
		},
	},
	{
		name: "lego", title: "lego", way: byHTTPReq, needs: access.Certificates, example: "example.org",
		pieces: []piece{
			{"For lego, into its environment:", "sh", `export HTTPREQ_ENDPOINT={{.Endpoint}}
export HTTPREQ_USERNAME={{.Name}}
export HTTPREQ_PASSWORD={{.Token}}
`},
			{"Then, with lego v4:", "sh", `lego --accept-tos --email you@example.org --dns httpreq{{range .Domains}} -d {{.}} -d '*.{{.}}'{{end}} run
`},
			{"With lego v5:", "sh", `lego run --accept-tos --email you@example.org --dns httpreq{{range .Domains}} -d {{.}} -d '*.{{.}}'{{end}}
`},
		},
	},
	{
		name: "nsupdate", title: "nsupdate", way: byUpdate, needs: access.Certificates, example: "example.org",
		pieces: []piece{
			{"For nsupdate, into bestdns.key (mode 600):", "", tsigKeyFile},
			{"Then this adds a challenge's value; \"update delete\" with the same removes it:", "sh", `nsupdate -k bestdns.key <<'END'
server {{.Server}} {{.Port}}
{{range .Domains}}zone {{.}}.
update add _acme-challenge.{{.}}. 0 TXT "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
send
{{end}}END
`},
		},
	},
	{
		name: "opnsense", title: "OPNsense", way: byHTTPReq, needs: access.Certificates, example: "example.org",
		pieces: []piece{
			{"For OPNsense, in Services: ACME Client: Challenge Types, a new one of type DNS-01:", "text", `DNS Service: that of acme.sh's acmeproxy
Sleep Time:  1
Endpoint:    {{.Endpoint}}
Username:    {{.Name}}
Password:    {{.Token}}
`},
		},
	},
	{
		name: "proxmox", title: "Proxmox VE", way: byHTTPReq, needs: access.Certificates, example: "pve.example.org",
		pieces: []piece{
			{"For Proxmox VE, into /root/bestdns.data (mode 600):", "sh", `ACMEPROXY_ENDPOINT={{.Endpoint}}
ACMEPROXY_USERNAME={{.Name}}
ACMEPROXY_PASSWORD={{.Token}}
`},
			{"Then, once an ACME account is registered (pvenode acme account register default you@example.org):", "sh", `pvenode acme plugin add dns bestdns --api acmeproxy --data /root/bestdns.data --validation-delay 1
rm /root/bestdns.data
pvenode config set --acme account=default{{range $i, $d := .Domains}} --acmedomain{{$i}} domain={{$d}},plugin=bestdns{{end}}
pvenode acme cert order
`},
		},
	},
	{
		name: "traefik", title: "Traefik", way: byHTTPReq, needs: access.Certificates, example: "example.org",
		pieces: []piece{
			{"For Traefik, into its environment:", "sh", `HTTPREQ_ENDPOINT={{.Endpoint}}
HTTPREQ_USERNAME={{.Name}}
HTTPREQ_PASSWORD={{.Token}}
`},
			{"Into its static configuration; routers then name the resolver, as in tls.certresolver=bestdns:", "yaml", `certificatesResolvers:
  bestdns:
    acme:
      email: you@example.org
      storage: /etc/traefik/acme.json
      dnsChallenge:
        provider: httpreq
`},
		},
	},
	{
		name: "win-acme", title: "win-acme", way: byACMEDNS, needs: access.Register, example: `"under auth.example.org"`,
		pieces: []piece{
			{"For win-acme, which registers an account and asks for the CNAME at the first run; the final slash is needed:", "bat", `wacs.exe --source manual --host www.example.org --validationmode dns-01 --validation acme-dns --acmednsserver {{.Endpoint}}/r/{{.Token}}/
`},
		},
	},
}
