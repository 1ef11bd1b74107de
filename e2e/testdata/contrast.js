// The contrast of each text that is shown, as WCAG 2.2 defines it.
(() => {
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const parts = (colour) => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = colour;
		canvas.fillRect(0, 0, 1, 1);
		return [...canvas.getImageData(0, 0, 1, 1).data];
	};
	const luminance = ([r, g, b]) => {
		const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
		return 0.2126 * x + 0.7152 * y + 0.0722 * z;
	};
	const groundOf = (element) => {
		for (; element; element = element.parentElement) {
			const colour = getComputedStyle(element).backgroundColor;
			if (parts(colour)[3] === 255) return colour;
		}
		return "white";
	};
	const readings = [];
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const element = walker.currentNode.parentElement;
		const text = walker.currentNode.textContent.trim();
		if (!text || !element.checkVisibility()) continue;
		if (["SCRIPT", "NOSCRIPT"].includes(element.tagName)) continue;
		const colour = getComputedStyle(element).color, ground = groundOf(element);
		const [a, b] = [luminance(parts(colour)), luminance(parts(ground))];
		readings.push({ Text: text, Colour: colour, Ground: ground, Contrast: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) });
	}
	return readings;
})()
