// SPDX-License-Identifier: Apache-2.0
/** Tokenizer classes of transformers 5.24 with rules of their own that are not followed here. */
export const UNFOLLOWED_CLASSES: readonly string[] = (
  "AlbertTokenizer BartphoTokenizer BertGenerationTokenizer " +
  "BertJapaneseTokenizer  BertweetTokenizer BigBirdTokenizer BioGptTokenizer " +
  "BlenderbotSmallTokenizer BlenderbotTokenizer ByT5Tokenizer CLIPTokenizer CTRLTokenizer " +
  "CanineTokenizer ClvpTokenizer CodeGenTokenizer CohereTokenizer " +
  "CpmAntTokenizer CpmTokenizer DPRContextEncoderTokenizer DPRQuestionEncoderTokenizer " +
  "DPRReaderTokenizer DebertaTokenizer DebertaV2Tokenizer DiaTokenizer  " +
  "EsmTokenizer EsmcTokenizer FSMTTokenizer FastSpeech2ConformerTokenizer FlaubertTokenizer " +
  "FunnelTokenizer GPTNeoXJapaneseTokenizer GPTSw3Tokenizer  " +
  "HerbertTokenizer LasrTokenizer LayoutLMv2Tokenizer LayoutLMv3Tokenizer LayoutXLMTokenizer " +
  "LukeTokenizer M2M100Tokenizer MLukeTokenizer MPNetTokenizer " +
  "MarianTokenizer MarkupLMTokenizer MgpstrTokenizer MobileBertTokenizer MyT5Tokenizer " +
  "NllbTokenizer NougatTokenizer OpenAIGPTTokenizer PLBartTokenizer PegasusTokenizer " +
  "PerceiverTokenizer PhobertTokenizer ProphetNetTokenizer Qwen3_5Tokenizer ReformerTokenizer " +
  "RemBertTokenizer RoCBertTokenizer RoFormerTokenizer  SeamlessM4TTokenizer " +
  "Siglip2Tokenizer SiglipTokenizer Speech2TextTokenizer SpeechT5Tokenizer SplinterTokenizer " +
  "SqueezeBertTokenizer T5Tokenizer TapasTokenizer Tipsv2Tokenizer UdopTokenizer " +
  "VideoPrismTokenizer VitsTokenizer Wav2Vec2CTCTokenizer Wav2Vec2PhonemeCTCTokenizer " +
  "WhisperTokenizer XGLMTokenizer XLMTokenizer XLNetTokenizer"
).split(" ");
