//! Light, dark, or as the system says; remembered in this browser.

type Theme = 'auto' | 'light' | 'dark'

export const theme = {
  now(): Theme {
    try {
      const kept = localStorage.getItem('overtap.theme')
      return kept === 'light' || kept === 'dark' ? kept : 'auto'
    } catch {
      return 'auto'
    }
  },
  /** What is drawn on a canvas hears `theme` and draws again. */
  set(to: Theme): void {
    try {
      localStorage.setItem('overtap.theme', to)
    } catch {
      // A browser that keeps nothing forgets it with the page.
    }
    if (to === 'auto') delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = to
    dispatchEvent(new Event('theme'))
  },
}
