"""The page's style sheet and theme: system fonts alone, light and dark."""

STYLE = """
.gradio-container{max-width:1180px!important;margin:0 auto!important}
#top h1{margin:0 0 4px;font-size:26px}
#top p{max-width:90ch}
.lncl{--fake:#b84a00;--real:#0068a3;--soft:#5b6570;--edge:#8a949e;--line:#d9dee4;--tint-fake:#d55e0030;--tint-real:#0072b230;
font-size:15px;line-height:1.5}
.lncl .html-container{padding:0!important}
.dark .lncl{--fake:#f08a3c;--real:#4aa8e0;--soft:#a3adb8;--line:#3a424c}
.lncl .card{border-style:solid;border-width:1px 1px 1px 6px;
border-color:var(--line) var(--line) var(--line) var(--edge);border-radius:8px;
padding:14px 20px 18px;margin:0 0 16px;background:var(--block-background-fill);overflow-wrap:anywhere}
.lncl .card.fake{--edge:var(--fake)}
.lncl .card.real{--edge:var(--real)}
.lncl .card h2{font-size:24px;font-weight:700;line-height:1.25;margin:2px 0 6px;color:var(--body-text-color)}
.lncl .card.fake h2{color:var(--fake)}
.lncl .card.real h2{color:var(--real)}
.lncl .card h3{font-size:15px;font-weight:600;margin:18px 0 6px}
.lncl p{margin:4px 0;max-width:90ch}
.lncl p.soft,.lncl p.name{color:var(--soft);font-size:14px}
.lncl .scale{position:relative;height:14px;border-radius:7px;margin:34px 10px 30px;
background:linear-gradient(90deg,var(--tint-real) var(--threshold),var(--tint-fake) var(--threshold))}
.lncl .scale>*{position:absolute;transform:translateX(-50%)}
.lncl .scale>span{top:-25px;font-size:13px;white-space:nowrap;font-variant-numeric:tabular-nums}
.lncl .scale>span.low{top:17px;color:var(--soft)}
.lncl .scale>i.mark{top:-3px;width:7px;height:20px;border-radius:3px;background:var(--edge)}
.lncl .scale>i.line{top:-3px;width:0;height:20px;border-left:2px dashed var(--body-text-color)}
.lncl .timeline{width:100%;height:auto;border-radius:6px;background:#fff}
.lncl .faces{display:flex;flex-wrap:wrap;gap:14px}
.lncl figure{margin:0;width:136px}
.lncl figure img{width:136px;height:136px;display:block;border-radius:6px;margin:0 0 4px}
.lncl figcaption{font-size:13px;color:var(--soft);font-variant-numeric:tabular-nums}
.lncl a.json{display:inline-block;margin-top:14px;padding:5px 12px;border-radius:6px;text-decoration:none;
border:1px solid var(--line);color:var(--body-text-color)}
.lncl a.json:hover,.lncl a.json:focus-visible{border-color:var(--body-text-color)}
"""
FONTS = ["system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]


def theme():
    """Gradio's default theme in grey, without fonts from the network."""
    import gradio

    return gradio.themes.Default(primary_hue="slate", font=FONTS, font_mono=["ui-monospace", "monospace"])
