// The API reference: Swagger UI in the layout and the colours of the other pages, with a curl command for each endpoint.
"use strict";
{
  const root = document.documentElement;
  const place = document.getElementById("reference");
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const colour = () => {
    const chosen = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.classList.toggle("dark-mode", chosen === "dark");
  };
  colour();
  dark.addEventListener("change", colour);
  document.addEventListener("theme", colour);

  // The base layout has a title and a `main` of its own, as this page has.
  const layout = ({ React, getComponent }) => () => {
    const draw = (name, contained = true) => React.createElement(getComponent(name, contained));
    const row = (name, ...parts) => React.createElement("div", { className: name }, ...parts);
    return row("swagger-ui", draw("SvgAssets", false), draw("errors"),
      row("tools", draw("FilterContainer"), draw("AuthorizeBtnContainer")),
      row("wrapper", draw("operations")), row("wrapper", draw("Models")));
  };

  // Names for controls that have none, and keyboard access to text that scrolls.
  const complete = () => {
    for (const text of place.querySelectorAll("pre.microlight:not([tabindex])")) text.tabIndex = 0;
    for (const close of place.querySelectorAll(".close-modal:not([aria-label])")) close.ariaLabel = "Close";
    for (const choice of place.querySelectorAll("select:not([aria-label]):not([id])")) {
      const row = choice.closest("tr[data-param-name]");
      choice.ariaLabel = row ? row.dataset.paramName : "Choice";
    }
  };
  new MutationObserver(complete).observe(place, { childList: true, subtree: true });

  const quoted = (text) => `'${text.replace(/'/g, "'\\''")}'`;
  const curl = (path, method, operation) => {
    const parameters = operation.get("parameters");
    const needed = parameters ? parameters.filter((one) => one.get("in") === "query" && one.get("required")) : [];
    const query = [...needed].map((one) => `${one.get("name")}=${one.getIn(["schema", "example"], "…")}`).join("&");
    const server = new URL(`${document.body.dataset.root}${path}`, location.href);
    const lines = [`curl ${quoted(decodeURI(server.href) + (query && `?${query}`))}`];
    if (operation.get("security")) lines.push("-H 'Authorization: Bearer TOKEN'");
    if (method === "post") {
      const [media, content] = operation.getIn(["requestBody", "content"], []).entries().next().value || [];
      const example = content && (content.get("example") || content.getIn(["examples", 0]));
      if (media) lines.push(`-H 'Content-Type: ${media}'`);
      lines.push(example ? `-d ${quoted(JSON.stringify(example))}` : "-d @body.json");
    }
    return lines.join(" \\\n  ");
  };

  const plugin = () => ({
    components: {
      // A link inside of a button is for nobody; the address follows the opened endpoint all the same.
      DeepLink: ({ text }) => text,
    },
    wrapComponents: {
      parameters: (Original, { React }) => (props) => {
        const [path, method] = props.pathMethod;
        const text = curl(path, method, props.operation);
        const box = React.createElement("pre", { className: "curl", tabIndex: 0, "aria-label": "curl" }, text);
        return React.createElement("div", null, box, React.createElement(Original, props));
      },
    },
  });

  SwaggerUIBundle({
    url: place.dataset.url,
    domNode: place,
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    docExpansion: "list",
    filter: true,
    layout: "Page",
    plugins: [plugin, (system) => ({ components: { Page: layout(system) } })],
    requestSnippetsEnabled: false,
    syntaxHighlight: false,
    tryItOutEnabled: true,
    validatorUrl: null,
    onComplete: () => { root.dataset.referenced = ""; },
  });
}
