//! A filter expression, checked by the controller's own parser as one types.

import { useEffect, useId, useState } from 'preact/hooks'
import { api, type Checked, type Mistake, type Problem } from '../api'

interface Field { value: string; change: (text: string) => void; bad: (isBad: boolean) => void }

export function FilterField({ value, change, bad }: Field) {
  const [checked, setChecked] = useState<Checked | null>(null)
  const [problem, setProblem] = useState<Problem | null>(null)
  const id = useId()
  useEffect(() => {
    setChecked(null)
    if (!value.trim()) {
      setProblem(null)
      bad(false)
      return undefined
    }
    const stop = new AbortController()
    const timer = setTimeout(() => {
      api.check(value, stop.signal).then(
        (checked) => { setChecked(checked); setProblem(null); bad(false) },
        (problem: Problem) => {
          if (stop.signal.aborted) return
          setProblem(problem)
          // Only what the parser refused is wrong; a line that is down is not the filter's fault.
          bad(problem.status === 400)
        },
      )
    }, 180)
    return () => { clearTimeout(timer); stop.abort() }
  }, [value])
  return (
    <div class="filter">
      <label for={id}>Which packets <span class="quiet-text">in tcpdump's words; empty for all</span></label>
      <input id={id} type="text" class="mono" value={value} placeholder="tcp port 443" spellcheck={false} autocapitalize="off" autocomplete="off"
        aria-invalid={problem?.status === 400} aria-describedby={`${id}-said`} onInput={(event) => change(event.currentTarget.value)} />
      <div id={`${id}-said`} aria-live="polite">
        {problem?.mistake ? <Caret text={value} error={problem.mistake} /> : problem ? <p class="bad-text">{problem.message}</p> : null}
        {checked && (
          <p class="quiet-text">
            Understood: {checked.explanation.map((line) => line.trim()).join(', ').replaceAll(':,', ':')}. {checked.kernel.exact ? 'The kernel decides all of it.' : 'The kernel lets some more pass; overtap decides.'}
          </p>
        )}
      </div>
    </div>
  )
}

/** The place of a mistake, marked under the words. */
function Caret({ text, error }: { text: string; error: Mistake }) {
  return (
    <div class="caret">
      <pre aria-hidden="true">{text}{'\n'}{' '.repeat(Math.max(0, error.column - 1))}{'^'.repeat(Math.max(1, error.width))}</pre>
      <p class="bad-text">Column {error.column}: {error.message}.{error.suggestion && <> Did you mean <code>{error.suggestion}</code>?</>}</p>
    </div>
  )
}
