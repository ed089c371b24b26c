import {render} from "preact";
import {App} from "./app.tsx";
import {startRouter} from "./lib/router.ts";
import {startSettings} from "./lib/settings.ts";
import "./style/tokens.css";
import "./style/base.css";
import "./style/frame.css";
import "./style/parts.css";

startSettings();
startRouter();
const at = document.getElementById("app");
if (at !== null) render(<App />, at);
