//! Logging in: a token is pasted once, or a link is opened once; a cookie that no script can read
//! stands for it.

import { useEffect, useRef, useState } from 'preact/hooks'
import { api, type Problem } from '../api'
import { Wrong } from '../parts/basics'
import { go, read } from '../route'

let isSpent = false

/** Logs in by the word behind `#/enter/` of a link, which is taken out of the address at once. */
export async function enter(): Promise<void> {
  const { path: [first, word] } = read(location.hash)
  if (first !== 'enter') return
  go('#/topology', true)
  try {
    await api.login(word ?? '')
  } catch {
    isSpent = true
  }
}

export function LoginPage({ done }: { done: () => void }) {
  const [token, set] = useState('')
  const [problem, setProblem] = useState<Problem | null>(null)
  const [isBusy, busy] = useState(false)
  const box = useRef<HTMLInputElement>(null)
  useEffect(() => { box.current?.focus(); document.title = 'Log in · overtap' }, [])
  const submit = async (event: Event) => {
    event.preventDefault()
    busy(true)
    setProblem(null)
    try {
      await api.login(token.trim())
      done()
    } catch (error) {
      setProblem(error as Problem)
      busy(false)
      box.current?.select()
    }
  }
  const isOther = token.trim() !== '' && !token.trim().startsWith('ovtu_')
  return (
    <main class="login">
      <form onSubmit={submit}>
        <img src="icon.svg" alt="" width="44" height="44" />
        <h1 tabIndex={-1}>Log in to overtap</h1>
        <p>The packets of any virtual machine, wherever it runs now.</p>
        {isSpent && <p role="alert">That link was used already, or is of an earlier run. <code>overtap serve --local</code> has printed another one.</p>}
        <label for="token">Token</label>
        <input ref={box} id="token" type="password" class="mono" value={token} autocomplete="current-password" spellcheck={false} required
          placeholder="ovtu_…" aria-describedby="token-help" onInput={(event) => set(event.currentTarget.value)} />
        <p id="token-help" class="quiet-text">
          {isOther ? 'This does not look like a person’s token: those begin with ovtu_.' : <>An administrator makes one: <code>overtap tokens add USER</code></>}
        </p>
        {problem && <Wrong problem={problem} />}
        <button type="submit" class="solid" disabled={isBusy || token.trim() === ''}>{isBusy ? 'Logging in …' : 'Log in'}</button>
      </form>
    </main>
  )
}
