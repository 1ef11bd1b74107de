package text

// How many bytes of a text go to the log or into an answer at most: callers, and the
// servers of others, decide how long it is.
const (
	MaxDetail = 2000 // what an error says
	MaxCause  = 8000 // its cause; may hold a stack
	MaxName   = 1200 // a name with each byte escaped, and its type, fit
	MaxID     = 100  // an address or a request's id
)
