// Replaces what is shown with what is new, while the page is visible.
"use strict";
{
	const every = 15_000;
	// Not location.href: a name and a password in it would make fetch refuse it.
	const here = location.origin + location.pathname;
	const status = document.getElementById("status");
	const pause = document.getElementById("pause");
	let paused = false;
	let busy = false;

	// A visitor that has the focus there, or selects text to copy it, must not lose it.
	const inUse = (main) => {
		const selection = getSelection();
		return main.contains(document.activeElement) ||
			!selection.isCollapsed && selection.containsNode(main, true);
	};

	const say = (text) => {
		if (status.textContent !== text) status.textContent = text;
	};

	const refresh = async () => {
		const main = document.querySelector("main");
		if (paused || busy || document.hidden || inUse(main)) return;
		busy = true;
		try {
			const answer = await fetch(here, { cache: "no-store", signal: AbortSignal.timeout(every) });
			if (answer.status === 401) {
				say("Your token is no longer accepted. Reload the page to sign in again.");
				return;
			}
			if (!answer.ok) throw new Error(answer.statusText);
			const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
			if (!fresh) throw new Error("another page");
			if (!inUse(main)) main.replaceWith(fresh);
			say("");
		} catch {
			say("The page could not be fetched, and what is below may be old. Trying again.");
		} finally {
			busy = false;
		}
	};

	pause.hidden = false;
	pause.addEventListener("click", () => {
		paused = !paused;
		pause.setAttribute("aria-pressed", String(paused));
		refresh();
	});
	document.addEventListener("visibilitychange", refresh);
	setInterval(refresh, every);
}
