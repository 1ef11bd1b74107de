// Replaces what is shown with what is new, while the page is visible, and filters it.
"use strict";
{
	const every = 15_000;
	// Not location.href: a name and a password in it would make fetch refuse it.
	const here = location.origin + location.pathname;
	const status = document.getElementById("status");
	const pause = document.getElementById("pause");
	const filter = document.getElementById("filter");
	const matches = document.getElementById("matches");
	const mainNow = () => document.querySelector("main");
	let paused = false;
	let busy = false;

	const say = (where, text) => {
		if (where.textContent !== text) where.textContent = text;
	};

	// The folds of the page are told apart by a key.
	const foldsOf = (main) => [...main.querySelectorAll("details[data-fold]")];
	const openIn = (main) => new Set(foldsOf(main).filter((fold) => fold.open).map((fold) => fold.dataset.fold));
	const openOnly = (main, keys) => {
		for (const fold of foldsOf(main)) fold.open = keys.has(fold.dataset.fold);
	};

	// The filter hides the rows that have no name with what is wanted in it.
	const wanted = () => filter.value.trim().toLowerCase();
	const hasWanted = (element) => [...element.querySelectorAll("bdi")].some((name) => name.textContent.toLowerCase().includes(wanted()));
	const applyFilter = (main) => {
		const rows = [...main.querySelectorAll("tbody tr")];
		for (const row of rows) row.hidden = wanted() !== "" && !hasWanted(row);
		for (const table of main.querySelectorAll("table")) {
			(table.closest(".part") ?? table).hidden = !table.querySelector("tbody tr:not([hidden])");
		}
		const left = rows.filter((row) => !row.hidden).length;
		say(matches, wanted() === "" ? "" : left === 0 ? "Nothing matches." : `${left} of ${rows.length} rows match.`);
	};
	let openBefore = null; // the folds that were open without the filter
	const filterAnew = () => {
		const main = mainNow();
		openBefore ??= openIn(main);
		applyFilter(main);
		if (wanted() === "") {
			openOnly(main, openBefore);
			openBefore = null;
			return;
		}
		for (const fold of foldsOf(main)) fold.open = openBefore.has(fold.dataset.fold) || hasWanted(fold);
	};
	filter.closest("[hidden]").hidden = false;
	filter.addEventListener("input", filterAnew);
	filter.addEventListener("keydown", (event) => {
		if (event.key !== "Escape" || event.isComposing) return;
		event.preventDefault();
		filter.value = "";
		filterAnew();
		filter.blur();
	});
	document.addEventListener("keydown", (event) => {
		if (event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey || event.target === filter) return;
		event.preventDefault();
		filter.focus();
		filter.select();
	});

	// What can have the focus within what is replaced: links, and the summaries of folds.
	const placeOf = (element) => element.matches("summary") ? element.parentElement.dataset.fold : element.getAttribute("href");
	const findPlace = (main, place) => [...main.querySelectorAll("summary, a")].find((element) => placeOf(element) === place);

	// A visitor that selects text to copy it must not lose it.
	const inUse = (main) => {
		const selection = getSelection();
		return !selection.isCollapsed && selection.containsNode(main, true);
	};

	const replace = (main, fresh) => {
		openOnly(fresh, openIn(main));
		applyFilter(fresh);
		const focus = main.contains(document.activeElement) ? placeOf(document.activeElement) : null;
		// What is looked at stays where it is, whatever comes above it.
		const top = (heading) => heading.getBoundingClientRect().top;
		const above = [...main.querySelectorAll("h2")].findLast((heading) => top(heading) <= 0);
		const offset = above && top(above);
		main.replaceWith(fresh);
		if (focus !== null) findPlace(fresh, focus)?.focus({ preventScroll: true });
		if (above) scrollBy({ top: top(document.getElementById(above.id)) - offset, behavior: "instant" });
	};

	const refresh = async () => {
		if (paused || busy || document.hidden || inUse(mainNow())) return;
		busy = true;
		try {
			const answer = await fetch(here, { cache: "no-store", signal: AbortSignal.timeout(every) });
			if (answer.status === 401) {
				say(status, "Your token is no longer accepted. Reload the page to sign in again.");
				return;
			}
			if (!answer.ok) throw new Error(answer.statusText);
			const page = new DOMParser().parseFromString(await answer.text(), "text/html");
			const fresh = page.querySelector("main");
			if (!fresh) throw new Error("another page");
			if (!inUse(mainNow())) {
				replace(mainNow(), fresh);
				document.title = page.title;
			}
			say(status, "");
		} catch {
			say(status, "The page could not be fetched, and what is below may be old. Trying again.");
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
